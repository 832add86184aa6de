CREATE TABLE sessions (
    id TEXT,
    source TEXT,
    user_id TEXT,
    session_key TEXT,
    chat_id TEXT,
    chat_type TEXT,
    thread_id TEXT,
    display_name TEXT,
    origin_json TEXT,
    expiry_finalized INTEGER,
    model TEXT,
    model_config TEXT,
    system_prompt TEXT,
    parent_session_id TEXT,
    started_at REAL,
    ended_at REAL,
    end_reason TEXT,
    message_count INTEGER,
    tool_call_count INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens INTEGER,
    cwd TEXT,
    git_branch TEXT,
    git_repo_root TEXT,
    billing_provider TEXT,
    billing_base_url TEXT,
    billing_mode TEXT,
    estimated_cost_usd REAL,
    actual_cost_usd REAL,
    cost_status TEXT,
    cost_source TEXT,
    pricing_version TEXT,
    title TEXT,
    api_call_count INTEGER,
    handoff_state TEXT,
    handoff_platform TEXT,
    handoff_error TEXT,
    compression_failure_cooldown_until REAL,
    compression_failure_error TEXT,
    compression_fallback_streak INTEGER,
    profile_name TEXT,
    rewind_count INTEGER,
    archived INTEGER,
    PRIMARY KEY (id)
);
INSERT INTO sessions (id, source, expiry_finalized, model, model_config, system_prompt, started_at, message_count, tool_call_count, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cwd, billing_provider, billing_base_url, estimated_cost_usd, cost_status, cost_source, api_call_count, compression_fallback_streak, rewind_count, archived)
VALUES ('20261122_225947_f1cd67', 'cli', 0, 'stub-model', 'left out', 'left out', 1795388394.36747, 5, 2, 191, 54, 60, 0, 4, '/srv/widgets', 'custom', 'left out', 0.0, 'unknown', 'none', 2, 0, 0, 0);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT,
    role TEXT,
    content TEXT,
    tool_call_id TEXT,
    tool_calls TEXT,
    tool_name TEXT,
    effect_disposition TEXT,
    timestamp REAL,
    token_count INTEGER,
    finish_reason TEXT,
    reasoning TEXT,
    reasoning_content TEXT,
    reasoning_details TEXT,
    codex_reasoning_items TEXT,
    codex_message_items TEXT,
    platform_message_id TEXT,
    observed INTEGER,
    active INTEGER,
    compacted INTEGER,
    api_content TEXT
);
INSERT INTO messages (id, session_id, role, content, timestamp, observed, active, compacted)
VALUES (1, '20261122_225947_f1cd67', 'user', 'look around and say done', 1795388394.3696454, 0, 1, 0);
INSERT INTO messages (id, session_id, role, content, tool_calls, timestamp, finish_reason, observed, active, compacted)
VALUES (2, '20261122_225947_f1cd67', 'assistant', 'Let me look.', '[{"id": "call_h1", "call_id": "call_h1", "response_item_id": "fc_h1", "type": "function", "function": {"name": "terminal", "arguments": "{\"command\": \"echo hi\"}"}}, {"id": "call_h2", "call_id": "call_h2", "response_item_id": "fc_h2", "type": "function", "function": {"name": "terminal", "arguments": "{\"command\": \"exit 3\"}"}}]', 1795388394.6615045, 'tool_calls', 0, 1, 0);
INSERT INTO messages (id, session_id, role, content, tool_call_id, tool_name, timestamp, observed, active, compacted)
VALUES (3, '20261122_225947_f1cd67', 'tool', '{"output": "hi", "exit_code": 0, "error": null}', 'call_h1', 'terminal', 1795388394.69822, 0, 1, 0);
INSERT INTO messages (id, session_id, role, content, tool_call_id, tool_name, timestamp, observed, active, compacted)
VALUES (4, '20261122_225947_f1cd67', 'tool', '{"output": "", "exit_code": 3, "error": null}', 'call_h2', 'terminal', 1795388395.7052948, 0, 1, 0);
INSERT INTO messages (id, session_id, role, content, timestamp, finish_reason, observed, active, compacted)
VALUES (5, '20261122_225947_f1cd67', 'assistant', 'All done: 42.', 1795388395.7778637, 'stop', 0, 1, 0);
CREATE TABLE session_model_usage (
    session_id TEXT,
    model TEXT,
    billing_provider TEXT,
    billing_base_url TEXT,
    billing_mode TEXT,
    task TEXT,
    api_call_count INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens INTEGER,
    estimated_cost_usd REAL,
    actual_cost_usd REAL,
    cost_status TEXT,
    cost_source TEXT,
    first_seen REAL,
    last_seen REAL,
    PRIMARY KEY (session_id, model, billing_provider, billing_base_url, billing_mode, task)
);
INSERT INTO session_model_usage (session_id, model, billing_provider, billing_base_url, billing_mode, task, api_call_count, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated_cost_usd, actual_cost_usd, cost_status, cost_source, first_seen, last_seen)
VALUES ('20261122_225947_f1cd67', 'stub-model', 'custom', 'left out', '', '', 2, 191, 54, 60, 0, 4, 0.0, 0.0, 'unknown', 'none', 1795388394.6592252, 1795388395.7735102);
