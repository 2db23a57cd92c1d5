-- A small iRedMail: those tables and columns of its database "vmail" that Postfix needs.

CREATE TABLE domain (
	domain VARCHAR(255) NOT NULL PRIMARY KEY,
	transport VARCHAR(255) NOT NULL DEFAULT 'dovecot',
	backupmx TINYINT(1) NOT NULL DEFAULT 0,
	modified DATETIME NOT NULL DEFAULT '1970-01-01 01:01:01',
	active TINYINT(1) NOT NULL DEFAULT 1
);
INSERT INTO domain (domain, transport, backupmx, active) VALUES
	('example.test', 'dovecot', 0, 1),
	('catch.test', 'lmtp:[192.0.2.8]:24', 0, 1),	-- has a catch-all
	('backup.test', 'relay:[192.0.2.25]', 1, 1),
	('off.test', 'dovecot', 0, 0);

CREATE TABLE alias_domain (
	alias_domain VARCHAR(255) NOT NULL PRIMARY KEY,
	target_domain VARCHAR(255) NOT NULL,
	modified DATETIME NOT NULL DEFAULT '1970-01-01 01:01:01',
	active TINYINT(1) NOT NULL DEFAULT 1,
	INDEX (target_domain)
);
INSERT INTO alias_domain (alias_domain, target_domain, active) VALUES
	('alias.test', 'example.test', 1),
	('catchalias.test', 'catch.test', 1),
	('aliasoff.test', 'example.test', 0),
	('offalias.test', 'off.test', 1),
	('backupalias.test', 'backup.test', 1);

CREATE TABLE mailbox (
	username VARCHAR(255) NOT NULL PRIMARY KEY,
	storagenode VARCHAR(255) NOT NULL DEFAULT 'vmail1',
	maildir VARCHAR(255) NOT NULL DEFAULT '',
	domain VARCHAR(255) NOT NULL DEFAULT '',
	transport VARCHAR(255) NOT NULL DEFAULT '',
	enablesmtp TINYINT(1) NOT NULL DEFAULT 1,
	enabledeliver TINYINT(1) NOT NULL DEFAULT 1,
	modified DATETIME NOT NULL DEFAULT '1970-01-01 01:01:01',
	active TINYINT(1) NOT NULL DEFAULT 1,
	INDEX (domain)
);
INSERT INTO mailbox (username, maildir, domain, transport, enablesmtp, enabledeliver, active) VALUES
	('anna@example.test', 'example.test/anna', 'example.test', '', 1, 1, 1),
	('Ben@example.test', 'example.test/ben', 'example.test', 'lmtp:[192.0.2.7]:24', 1, 1, 1),
	('mute@example.test', 'example.test/mute', 'example.test', '', 0, 1, 1),
	('full@example.test', 'example.test/full', 'example.test', '', 1, 0, 1),
	('closed@example.test', 'example.test/closed', 'example.test', 'x:', 1, 1, 0),
	('carla@catch.test', 'catch.test/carla', 'catch.test', '', 1, 1, 1),
	('dora@off.test', 'off.test/dora', 'off.test', 'x:', 1, 1, 1);

-- Every mailbox forwards to itself; a catch-all has the domain as its address.
CREATE TABLE forwardings (
	id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
	address VARCHAR(255) NOT NULL DEFAULT '',
	forwarding VARCHAR(255) NOT NULL DEFAULT '',
	domain VARCHAR(255) NOT NULL DEFAULT '',
	is_maillist TINYINT(1) NOT NULL DEFAULT 0,
	is_list TINYINT(1) NOT NULL DEFAULT 0,
	is_forwarding TINYINT(1) NOT NULL DEFAULT 0,
	is_alias TINYINT(1) NOT NULL DEFAULT 0,
	active TINYINT(1) NOT NULL DEFAULT 1,
	UNIQUE INDEX (address, forwarding),
	INDEX (domain)
);
INSERT INTO forwardings (address, forwarding, domain, is_forwarding, active) VALUES
	('anna@example.test', 'anna@example.test', 'example.test', 1, 1),
	('ben@example.test', 'far@elsewhere.test', 'example.test', 1, 1),
	('ben@example.test', 'ben@example.test', 'example.test', 1, 1),
	('mute@example.test', 'mute@example.test', 'example.test', 1, 1),
	('closed@example.test', 'closed@example.test', 'example.test', 1, 0),
	('carla@catch.test', 'carla@catch.test', 'catch.test', 1, 1),
	('dora@off.test', 'dora@off.test', 'off.test', 1, 1),
	('catch.test', 'carla@catch.test', 'catch.test', 0, 1),
	('off.test', 'dora@off.test', 'off.test', 0, 1);
INSERT INTO forwardings (address, forwarding, domain, is_alias) VALUES
	('sales@example.test', 'anna@example.test', 'example.test', 1),
	('shop@catch.test', 'anna@example.test', 'catch.test', 1);
INSERT INTO forwardings (address, forwarding, domain, is_list, active) VALUES
	('team@example.test', 'carla@catch.test', 'example.test', 1, 1),
	('team@example.test', 'anna@example.test', 'example.test', 1, 1),
	('team@example.test', 'gone@example.test', 'example.test', 1, 0);
INSERT INTO forwardings (address, forwarding, domain, is_maillist) VALUES
	('news@example.test', 'news@example.test', 'example.test', 1);

CREATE TABLE maillists (
	id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
	address VARCHAR(255) NOT NULL DEFAULT '' UNIQUE,
	domain VARCHAR(255) NOT NULL DEFAULT '',
	transport VARCHAR(255) NOT NULL DEFAULT '',
	modified DATETIME NOT NULL DEFAULT '1970-01-01 01:01:01',
	active TINYINT(1) NOT NULL DEFAULT 1
);
INSERT INTO maillists (address, domain, transport, active) VALUES
	('news@example.test', 'example.test', 'mlmmj:example.test/news', 1),
	('old@example.test', 'example.test', 'mlmmj:example.test/old', 0),
	('list@off.test', 'off.test', 'mlmmj:off.test/list', 1);

CREATE TABLE recipient_bcc_user (
	username VARCHAR(255) NOT NULL PRIMARY KEY,
	bcc_address VARCHAR(255) NOT NULL DEFAULT '',
	domain VARCHAR(255) NOT NULL DEFAULT '',
	active TINYINT(1) NOT NULL DEFAULT 1
);
CREATE TABLE recipient_bcc_domain (
	domain VARCHAR(255) NOT NULL PRIMARY KEY,
	bcc_address VARCHAR(255) NOT NULL DEFAULT '',
	active TINYINT(1) NOT NULL DEFAULT 1
);
CREATE TABLE sender_bcc_user LIKE recipient_bcc_user;
CREATE TABLE sender_bcc_domain LIKE recipient_bcc_domain;
INSERT INTO recipient_bcc_user VALUES
	('anna@example.test', 'to-anna@log.test', 'example.test', 1),
	('ben@example.test', 'to-ben@log.test', 'example.test', 0),
	('dora@off.test', 'to-dora@log.test', 'off.test', 1);
INSERT INTO recipient_bcc_domain VALUES
	('example.test', 'to-example@log.test', 1),
	('catch.test', 'to-catch@log.test', 0),
	('off.test', 'to-off@log.test', 1);
INSERT INTO sender_bcc_user VALUES
	('anna@example.test', 'from-anna@log.test', 'example.test', 1),
	('ben@example.test', 'from-ben@log.test', 'example.test', 0);
INSERT INTO sender_bcc_domain VALUES
	('example.test', 'from-example@log.test', 1),
	('catch.test', 'from-catch@log.test', 0);

CREATE TABLE sender_relayhost (
	id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
	account VARCHAR(255) NOT NULL DEFAULT '' UNIQUE,
	relayhost VARCHAR(255) NOT NULL DEFAULT ''
);
INSERT INTO sender_relayhost (account, relayhost) VALUES
	('anna@example.test', '[192.0.2.50]:587'),
	('@example.test', '[192.0.2.51]:587');
