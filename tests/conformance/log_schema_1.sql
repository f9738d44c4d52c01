BEGIN TRANSACTION;
CREATE TABLE dead_letter (
    offset integer primary key,
    session_id text not null,
    error text not null,
    at_ms integer not null,
    redriven_ms integer,
    value blob not null
);
INSERT INTO "dead_letter" VALUES(1,'webchat/main/k1/aaaa','it is rubbish',3,NULL,X'FF');
INSERT INTO "dead_letter" VALUES(2,'webchat/main/k1/aaaa','it is rubbish',3,NULL,X'FF');
CREATE TABLE deadline (session integer primary key, due_ms integer not null);
INSERT INTO "deadline" VALUES(1,1002);
CREATE TABLE death (event_id text primary key, offset integer not null, deaths integer not null);
INSERT INTO "death" VALUES('webchat/main/k1/aaaa/bc5300f59b473f07986071ba9a0952a9',1,1);
INSERT INTO "death" VALUES('webchat/main/k1/aaaa/dce34f4ed648fee4172f56b3151f3a97',2,1);
CREATE TABLE delivery (
    place integer primary key,
    session integer not null,
    key not null,
    open integer not null, -- 1 while it is queued or sending
    value blob not null
);
INSERT INTO "delivery" VALUES(1,1,X'F887545AEE2FED08B37E8121E3D15B84',0,X'9EA473656E74AB7265706C79203120E29C9305C0C090A76D657373616765C410BC5300F59B473F07986071BA9A0952A984A76368616E6E656CA777656263686174A76163636F756E74A46D61696EAC636F6E766572736174696F6EA3E5AEA4A673656E646572A170A8616E737765726564A3626F7400A0C0');
INSERT INTO "delivery" VALUES(2,1,X'4F09C3E5114F126A3162C7CBECA426AB',1,X'9EA6717565756564AB7265706C79203220E29C9305C0C090A76D657373616765C410DCE34F4ED648FEE4172F56B3151F3A9784A76368616E6E656CA777656263686174A76163636F756E74A46D61696EAC636F6E766572736174696F6EA3E5AEA4A673656E646572A170A8616E737765726564A3626F7400A0C0');
INSERT INTO "delivery" VALUES(3,2,X'3A3CBA7B98A0772C1FF903DAB43778CF',1,X'9EA773656E64696E67AB7265706C79203120E29C9305C0C090A76D657373616765C4102CC9989635551CD411E959D91D4121C784A76368616E6E656CA777656263686174A76163636F756E74A46D61696EAC636F6E766572736174696F6EA3E5AEA4A673656E646572A170A8616E737765726564A3626F7400A0C0');
INSERT INTO "delivery" VALUES(4,2,X'AC67DF2F4519AF823E991A1AA95B1EDE',0,X'9EA6636C6F736564AB7265706C79203220E29C9305C0C090A76D657373616765C410FBA0092DC055E8EDCC4FDFD4C3FC926984A76368616E6E656CA777656263686174A76163636F756E74A46D61696EAC636F6E766572736174696F6EA3E5AEA4A673656E646572A170A8616E737765726564A3626F7400A0C0');
INSERT INTO "delivery" VALUES(5,1,X'A536FCE3154D48FAABADB7D7405BFA8A',1,X'9EA6717565756564AB7265706C79203320E29C9305C0C090A76D657373616765C4107AB7C223A420CF2E4187357F36AB198B84A76368616E6E656CA777656263686174A76163636F756E74A46D61696EAC636F6E766572736174696F6EA3E5AEA4A673656E646572A170A8616E737765726564A3626F7400A0C0');
CREATE TABLE event (
    offset integer primary key,
    session integer not null,
    previous integer not null,
    key not null,
    appended_ms integer not null,
    value blob not null
);
INSERT INTO "event" VALUES(1,1,0,X'BC5300F59B473F07986071BA9A0952A9',101,X'7B226E223A317D');
INSERT INTO "event" VALUES(2,1,1,X'DCE34F4ED648FEE4172F56B3151F3A97',102,X'7B226E223A327D');
INSERT INTO "event" VALUES(3,2,0,X'2CC9989635551CD411E959D91D4121C7',5,X'7B226E223A317D');
CREATE TABLE line (
    place integer primary key,
    session integer not null,
    n integer not null,
    key not null,
    previous integer not null,
    value blob not null
);
INSERT INTO "line" VALUES(1,1,1,'m1',0,X'94A475736572A568656C6C6F07A0');
INSERT INTO "line" VALUES(2,1,2,'m2',1,X'94A475736572A568656C6C6F07A0');
CREATE TABLE partition (
    partition integer primary key, token integer not null, watermark integer not null
);
INSERT INTO "partition" VALUES(0,1,2);
CREATE TABLE session (
    session integer primary key,
    id text not null unique,
    line_count integer not null default 0,
    last_line integer not null default 0,
    last_event integer not null default 0,
    value blob
);
INSERT INTO "session" VALUES(0,'',0,0,0,NULL);
INSERT INTO "session" VALUES(1,'webchat/main/k1/aaaa',2,2,2,X'73657373696F6E2061667465722032');
INSERT INTO "session" VALUES(2,'webchat/main/k1/bbbb',0,0,3,X'626565');
CREATE TABLE step (
    place integer primary key, -- the offset of its event; below 0 for materialised ones
    session integer not null,
    seq integer not null,
    key, -- of a materialised event: the others' is in `event`
    stepped_ms integer not null,
    value blob not null
);
INSERT INTO "step" VALUES(1,1,1,NULL,201,X'737465702031');
INSERT INTO "step" VALUES(2,1,2,NULL,202,X'737465702032');
CREATE INDEX step_materialised on step (session) where place < 0;
CREATE UNIQUE INDEX delivery_of_session on delivery (session, key);
CREATE INDEX delivery_open on delivery (place) where open = 1;
CREATE UNIQUE INDEX line_of_session on line (session, key);
CREATE INDEX line_mark on line (session, n) where n % 64 = 0;
COMMIT;
