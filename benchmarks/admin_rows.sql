-- A million messages made by the database itself, faster than any program could send them. Ids are of version 7.

INSERT INTO accounts_user (id, username, password, is_active, is_staff, is_superuser, guest_made, date_joined,
    first_name, last_name, email)
SELECT uuidv7(-interval '90 days' * random()), 'user-' || n, '!', true, false, false, n % 100 = 0,
    now() - interval '90 days' * random(), '', '', ''
FROM generate_series(1, :users) AS n;

CREATE TEMP TABLE account AS SELECT id, row_number() OVER () AS n FROM accounts_user WHERE username LIKE 'user-%';

CREATE UNIQUE INDEX ON account (n);

CREATE TEMP TABLE talk AS
SELECT uuidv7(began - now()) AS id, n, began, 1 + floor(:users * power(random(), 2))::int AS account
FROM (SELECT n, now() - interval '60 days' * random() AS began FROM generate_series(1, :talks) AS n) AS t;

INSERT INTO conversations_conversation (id, owner_id, title, end_user, metadata, next_position, created_at,
    updated_at, archived_at)
SELECT talk.id, account.id, (ARRAY['Planning', 'Fixing', 'Asking about', 'Learning'])[1 + talk.n % 4] || ' ' || md5(talk.n::text),
    '', '{}', :per_talk + 1, began, began + interval '1 hour', CASE WHEN talk.n % 20 = 0 THEN now() END
FROM talk JOIN account ON account.n = talk.account;

CREATE TEMP TABLE said AS
SELECT uuidv7(talk.began + position * interval '5 minutes' - now()) AS id, talk.id AS talk, talk.n, talk.began,
    position, position % 2 = 0 AS answers
FROM talk, generate_series(1, :per_talk) AS position;

INSERT INTO conversations_message (id, conversation_id, parent_id, position, role, content, author, model, status,
    finish_reason, usage, digest, created_at, upstream)
SELECT id, talk, lag(id) OVER (PARTITION BY talk ORDER BY position), position,
    CASE WHEN answers THEN 'assistant' ELSE 'user' END,
    repeat(md5(id::text) || ' ', CASE WHEN answers THEN 18 ELSE 5 END), '',
    CASE WHEN NOT answers THEN '' WHEN n % 5000 = 0 THEN 'rare-model' WHEN n % 3 = 0 THEN 'gpt-4o' ELSE 'gpt-4o-mini' END,
    CASE WHEN answers AND n % 50 = 0 AND position = 4 THEN 'failed'
        WHEN answers AND n % 70 = 0 AND position = 6 THEN 'interrupted' ELSE 'complete' END,
    CASE WHEN answers THEN 'stop' ELSE '' END,
    CASE WHEN answers THEN '{"prompt_tokens": 120, "completion_tokens": 90, "total_tokens": 210}'::jsonb END,
    left(md5(id::text), 22), began + position * interval '5 minutes', ''
FROM said;

UPDATE conversations_conversation AS c SET head_id = m.id
FROM said AS m WHERE m.talk = c.id AND m.position = :per_talk;

INSERT INTO completions_run (id, message_id, conversation_id, user_id, address, upstream, model, parameters, state,
    exclusive, epoch, worker, lease_until, usage, finish_reason, error_code, error_message, http_status, created_at,
    first_token_at, finished_at)
SELECT uuidv7(m.created_at - now()), m.id, c.id, c.owner_id, '127.0.0.1', 'openai', m.model, '{}', m.status, true, 1,
    'bench', 0, m.usage, 'stop', CASE m.status WHEN 'failed' THEN 'upstream_timeout' WHEN 'interrupted' THEN 'interrupted'
    ELSE '' END, '', 200, m.created_at, m.created_at + interval '400 ms' * (0.5 + random()),
    m.created_at + interval '3 seconds' * (0.5 + random())
FROM conversations_message AS m JOIN conversations_conversation AS c ON c.id = m.conversation_id
WHERE m.role = 'assistant';

INSERT INTO conversations_accesslogentry (id, created_at, kind, reader_id, reader_name, owner_id, conversation_id, reason)
SELECT uuidv7(created_at - now()), created_at, 'transcript', gen_random_uuid(), 'carol', owner_id, id, ':reason'
FROM conversations_conversation;

INSERT INTO accounts_apikey (id, user_id, name, kid, digest, created_at, may_change_credentials)
SELECT uuidv7(), id, 'laptop', lpad(n::text, 8, '0'), md5(n::text), now(), false FROM account;
