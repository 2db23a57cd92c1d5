-- A small PostfixAdmin: those tables and columns of its database that Postfix needs. Its text is
-- latin1 but for names and descriptions.

CREATE TABLE domain (
	domain VARCHAR(255) NOT NULL PRIMARY KEY,
	description VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
	transport VARCHAR(255) NOT NULL DEFAULT 'virtual',
	backupmx TINYINT(1) NOT NULL DEFAULT 0,
	modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
	active TINYINT(1) NOT NULL DEFAULT 1
) CHARACTER SET latin1;
INSERT INTO domain (domain, transport, backupmx, active) VALUES
	('ALL', '', 0, 1),				-- PostfixAdmin's own: the super admin's
	('example.test', 'virtual', 0, 1),
	('catch.test', 'lmtp:[192.0.2.8]:24', 0, 1),
	('backup.test', 'virtual', 1, 1),
	('relayed.test', 'smtp:[192.0.2.25]', 0, 1),
	('alias.test', 'virtual', 0, 1),
	('catchalias.test', 'virtual', 0, 1),
	('aliasoff.test', 'virtual', 0, 1),
	('off.test', 'virtual', 0, 0);

CREATE TABLE alias_domain (
	alias_domain VARCHAR(255) NOT NULL PRIMARY KEY,
	target_domain VARCHAR(255) NOT NULL DEFAULT '',
	modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
	active TINYINT(1) NOT NULL DEFAULT 1,
	INDEX (active),
	INDEX (target_domain)
) CHARACTER SET latin1;
INSERT INTO alias_domain (alias_domain, target_domain, active) VALUES
	('alias.test', 'example.test', 1),
	('catchalias.test', 'catch.test', 1),
	('aliasoff.test', 'example.test', 0);

CREATE TABLE mailbox (
	username VARCHAR(255) NOT NULL PRIMARY KEY,
	name VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
	maildir VARCHAR(255) NOT NULL DEFAULT '',
	local_part VARCHAR(255) NOT NULL DEFAULT '',
	domain VARCHAR(255) NOT NULL DEFAULT '',
	modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
	active TINYINT(1) NOT NULL DEFAULT 1,
	INDEX (domain)
) CHARACTER SET latin1;
INSERT INTO mailbox (username, maildir, local_part, domain, active) VALUES
	('anna@example.test', 'example.test/anna/', 'anna', 'example.test', 1),
	('Ben@example.test', 'example.test/ben/', 'Ben', 'example.test', 1),
	('closed@example.test', 'example.test/closed/', 'closed', 'example.test', 0),
	('carla@catch.test', 'catch.test/carla/', 'carla', 'catch.test', 1);

-- Every mailbox is an alias of itself; goto is a list with commas.
CREATE TABLE alias (
	address VARCHAR(255) NOT NULL PRIMARY KEY,
	goto TEXT NOT NULL,
	domain VARCHAR(255) NOT NULL DEFAULT '',
	modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
	active TINYINT(1) NOT NULL DEFAULT 1,
	INDEX (domain)
) CHARACTER SET latin1;
INSERT INTO alias (address, goto, domain, active) VALUES
	('anna@example.test', 'anna@example.test', 'example.test', 1),
	('ben@example.test', 'ben@example.test,far@elsewhere.test', 'example.test', 1),
	('closed@example.test', 'closed@example.test', 'example.test', 0),
	('carla@catch.test', 'carla@catch.test', 'catch.test', 1),
	('sales@example.test', 'anna@example.test', 'example.test', 1),
	('team@example.test', 'carla@catch.test,anna@example.test', 'example.test', 1),
	('shop@catch.test', 'anna@example.test', 'catch.test', 1),
	('@catch.test', 'carla@catch.test', 'catch.test', 1),
	('@example.test', 'anna@example.test', 'example.test', 0);
