-- demo.sql - a small mail site for `make run`. Keys are stored in lower case, as they are looked
-- up; the sample maps beside this file show how the tables are asked.

BEGIN;

-- Our domains, and how mail to them is handled.
CREATE TABLE domain (
	name TEXT PRIMARY KEY,
	kind TEXT NOT NULL CHECK (kind IN ('mailbox', 'alias', 'relay'))
);
INSERT INTO domain VALUES
	('example.test', 'mailbox'),
	('shop.test', 'mailbox'),
	('old.test', 'alias'),		-- another name of example.test
	('partner.test', 'relay');	-- passed on to somebody else's server

CREATE TABLE mailbox (
	address TEXT PRIMARY KEY,
	maildir TEXT NOT NULL
);
INSERT INTO mailbox VALUES
	('anna@example.test', 'example.test/anna/'),
	('ben@example.test', 'example.test/ben/'),
	('carla@shop.test', 'shop.test/carla/');

-- Several rows of one address are several targets. '@domain' is a catch-all.
CREATE TABLE alias (
	address TEXT NOT NULL,
	target TEXT NOT NULL
);
CREATE INDEX alias_address ON alias (address);
INSERT INTO alias VALUES
	('postmaster@example.test', 'anna@example.test'),
	('sales@shop.test', 'anna@example.test'),
	('sales@shop.test', 'ben@example.test'),
	('@shop.test', 'ben@example.test');

CREATE TABLE domain_alias (
	name TEXT PRIMARY KEY,
	target TEXT NOT NULL
);
INSERT INTO domain_alias VALUES
	('old.test', 'example.test');

-- Who may send as whom, besides the owner of the mailbox.
CREATE TABLE send_as (
	address TEXT NOT NULL,
	login TEXT NOT NULL
);
INSERT INTO send_as VALUES
	('sales@shop.test', 'anna@example.test'),
	('sales@shop.test', 'ben@example.test');

-- Addresses, domains, and '.domain' for everything below a domain.
CREATE TABLE transport (
	pattern TEXT PRIMARY KEY,
	route TEXT NOT NULL
);
INSERT INTO transport VALUES
	('partner.test', 'relay:[192.0.2.25]'),
	('.partner.test', 'relay:[192.0.2.26]'),
	('fax@example.test', 'fax:');

-- Addresses, domains (which mean what is below them, too), and 'user@'.
CREATE TABLE sender_access (
	pattern TEXT PRIMARY KEY,
	action TEXT NOT NULL
);
INSERT INTO sender_access VALUES
	('spam.test', 'REJECT we do not want this'),
	('friend@spam.test', 'OK'),
	('mailer-robot@', 'HOLD');

COMMIT;
