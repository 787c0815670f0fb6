-- A year of the ledger, as ten million requests leave it, and a budget for each user. Run after admin_rows.sql.

INSERT INTO auth_group (name) SELECT 'Team ' || n FROM generate_series(1, 20) AS n;

CREATE TEMP TABLE payer AS
SELECT u.id, k.id AS key, g.id AS team, u.n
FROM account AS u JOIN accounts_apikey AS k ON k.user_id = u.id
JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM auth_group) AS g ON g.n = 1 + u.n % 20
WHERE u.n <= :payers;

INSERT INTO usage_dailyusage (id, day, user_id, api_key_id, group_id, model, upstream, requests, failed, estimated,
    unpriced, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost)
SELECT gen_random_uuid(), (now() AT TIME ZONE 'UTC')::date - day, payer.id, payer.key, payer.team, model, 'openai', 18, (day % 7 = 0)::int, 1, 0, 21000 + payer.n, 5000,
    4000 + day, 300, 93000 + payer.n
FROM generate_series(0, 364) AS day, payer, unnest(ARRAY['gpt-4o', 'gpt-4o-mini', 'o4-mini']) AS model;

INSERT INTO usage_budget (id, name, for_each, period, max_cost, is_hard, warn_at, is_active, end_user)
SELECT uuidv7(), 'Everybody ' || period, true, period, 20000000, true, 80, true, ''
FROM unnest(ARRAY['day', 'week', 'month']) AS period;

INSERT INTO usage_budgetuse (id, budget_id, member, start, used_tokens, used_cost, reserved_tokens, reserved_cost, warned)
SELECT gen_random_uuid(), b.id, replace(account.id::text, '-', ''), date_trunc(b.period, now() AT TIME ZONE 'UTC')::date, 0,
    account.n * 10000, 0, 0, 0
FROM usage_budget AS b, account;
