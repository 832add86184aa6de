CREATE TABLE session_windows (
    session_id TEXT,
    session_key TEXT,
    previous_session_id TEXT,
    reason TEXT,
    session_scope TEXT,
    created_at INTEGER,
    updated_at INTEGER,
    transcript_updated_at INTEGER,
    transcript_observed_at INTEGER,
    session_entry_provenance INTEGER,
    acp_owned INTEGER,
    plugin_owner_id TEXT,
    hook_external_content_source TEXT,
    started_at INTEGER,
    ended_at INTEGER,
    status TEXT,
    chat_type TEXT,
    channel TEXT,
    account_id TEXT,
    primary_conversation_id TEXT,
    model_provider TEXT,
    model TEXT,
    agent_harness_id TEXT,
    parent_session_key TEXT,
    spawned_by TEXT,
    display_name TEXT,
    PRIMARY KEY (session_id)
);
INSERT INTO session_windows (session_id, session_key, session_scope, created_at, updated_at, transcript_updated_at, transcript_observed_at, session_entry_provenance, acp_owned, model_provider, model, agent_harness_id)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 'agent:main:main', 'conversation', 1795388754358, 1795388759301, 1795388759268, 1795388759268, 1, 0, 'stub', 'stub-model', 'openclaw');
CREATE TABLE transcript_rewrite_watermarks (
    session_id TEXT,
    generation TEXT,
    updated_at INTEGER,
    PRIMARY KEY (session_id)
);
INSERT INTO transcript_rewrite_watermarks (session_id, generation, updated_at)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 'a7a585d75ea442b7860502d7369a4ac4', 1795388758169);
CREATE TABLE transcript_events (
    session_id TEXT,
    seq INTEGER,
    event_json TEXT,
    created_at INTEGER,
    event_zstd BLOB,
    event_utf8_bytes INTEGER,
    navigation_json TEXT,
    PRIMARY KEY (session_id, seq)
);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 0, '{"type":"session","version":4,"id":"a0577f64-a94a-47c1-ab16-52ccce42cbd1","timestamp":"2026-11-22T23:05:57.761Z","cwd":"/srv/widgets"}', 1795388757761, 140);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 1, '{"type":"model_change","provider":"stub","modelId":"stub-model","id":"aa7f2cf9-d4a2-4c2e-a9a1-6f063d4c82d9","parentId":null,"timestamp":"2026-11-22T23:05:57.796Z"}', 1795388757796, 163);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 2, '{"type":"thinking_level_change","thinkingLevel":"off","id":"3a1d487b-3ec8-4709-a758-6bc9265515de","parentId":"aa7f2cf9-d4a2-4c2e-a9a1-6f063d4c82d9","timestamp":"2026-11-22T23:05:58.184Z"}', 1795388758184, 187);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 3, '{"type":"custom","customType":"model-snapshot","data":{"timestamp":1795388758230,"provider":"stub","modelApi":"openai-completions","modelId":"stub-model"},"id":"3f760a35-d39c-480a-90bb-03e747c5b52b","parentId":"3a1d487b-3ec8-4709-a758-6bc9265515de","timestamp":"2026-11-22T23:05:58.231Z"}', 1795388758231, 288);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 4, '{"type":"message","id":"1e6db7b0-4ab2-4117-952c-f5121cfdf5b2","parentId":"3f760a35-d39c-480a-90bb-03e747c5b52b","timestamp":"2026-11-22T23:05:58.300Z","message":{"role":"user","content":"look around and say done","timestamp":1795388754573,"__openclaw":{"senderIsOwner":true},"idempotencyKey":"e20c6282-ec28-4f1d-8a34-d334b4588ca7:user"}}', 1795388758300, 337);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 5, '{"type":"message","id":"8564a18b-5121-4ad1-b302-525accb41865","parentId":"1e6db7b0-4ab2-4117-952c-f5121cfdf5b2","timestamp":"2026-11-22T23:05:58.418Z","message":{"role":"assistant","content":[{"type":"text","text":"Let me look.","textSignature":"{\"v\":1,\"id\":\"commentary-0-35459f4405d542c387abd117\",\"phase\":\"commentary\"}"},{"type":"toolCall","id":"call_h1","name":"exec","arguments":{"command":"echo hi"}},{"type":"toolCall","id":"call_h2","name":"exec","arguments":{"command":"exit 3"}}],"api":"openai-completions","provider":"stub","model":"stub-model","usage":{"input":98,"output":27,"cacheRead":30,"cacheWrite":0,"reasoningTokens":2,"totalTokens":155,"cost":{"input":0.000098,"output":0.000054,"cacheRead":0.000003,"cacheWrite":0,"total":0.000155}},"stopReason":"toolUse","timestamp":1795388758319,"responseId":"chatcmpl-ed22c1d1","__openclaw":{"runId":"b2424691-ae62-4006-8e20-5b42f8d7c2ec"}}}', 1795388758418, 907);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 6, '{"type":"message","id":"9c96b321-3ace-4cf1-990e-69100fefab2d","parentId":"8564a18b-5121-4ad1-b302-525accb41865","timestamp":"2026-11-22T23:05:59.201Z","message":{"role":"toolResult","toolCallId":"call_h1","toolName":"exec","content":[{"type":"text","text":"hi"}],"details":{"status":"completed","exitCode":0,"exitSignal":null,"exitReason":"exit","durationMs":352,"aggregated":"hi","noOutputTimedOut":false,"cwd":"/srv/widgets"},"isError":false,"timestamp":1795388759199,"__openclaw":{"runId":"b2424691-ae62-4006-8e20-5b42f8d7c2ec"}}}', 1795388759201, 539);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 7, '{"type":"message","id":"dd644b17-7ff5-44ef-aa2c-33a5e0d48e83","parentId":"9c96b321-3ace-4cf1-990e-69100fefab2d","timestamp":"2026-11-22T23:05:59.212Z","message":{"role":"toolResult","toolCallId":"call_h2","toolName":"exec","content":[{"type":"text","text":"(no output)\n\n(Command exited with code 3)"}],"details":{"status":"completed","exitCode":3,"exitSignal":null,"exitReason":"exit","durationMs":349,"aggregated":"(no output)\n\n(Command exited with code 3)","noOutputTimedOut":false,"cwd":"/srv/widgets"},"isError":false,"timestamp":1795388759211,"__openclaw":{"runId":"b2424691-ae62-4006-8e20-5b42f8d7c2ec"}}}', 1795388759212, 621);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 8, '{"type":"custom","customType":"openclaw.cache-ttl","data":{"prunedToolResults":[],"ambiguousToolResultBaseKeys":[],"frozenToolResults":[{"key":"tool:call_h1:1795388759199","sourceHash":"gOKnJnL_J8Lg5Jp3Jo1ltt3OF3cC0g198MY6S88QVA0"},{"key":"tool:call_h2:1795388759211","sourceHash":"y4dF_OJQTZLpOMar4G28zeqJUC-2ButKULY21MEtE6E"}]},"id":"8c4c574c-72f1-4257-b42f-a857b6aedc04","parentId":"dd644b17-7ff5-44ef-aa2c-33a5e0d48e83","timestamp":"2026-11-22T23:05:59.220Z"}', 1795388759220, 463);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 9, '{"type":"message","id":"ca775c3d-bb30-4128-bfb3-b680c5be809c","parentId":"8c4c574c-72f1-4257-b42f-a857b6aedc04","timestamp":"2026-11-22T23:05:59.252Z","message":{"role":"assistant","content":[{"type":"text","text":"All done: 42."}],"api":"openai-completions","provider":"stub","model":"stub-model","usage":{"input":99,"output":27,"cacheRead":30,"cacheWrite":0,"reasoningTokens":2,"totalTokens":156,"cost":{"input":0.000099,"output":0.000054,"cacheRead":0.000003,"cacheWrite":0,"total":0.00015599999999999997}},"stopReason":"stop","timestamp":1795388759225,"responseId":"chatcmpl-69934b44","__openclaw":{"runId":"b2424691-ae62-4006-8e20-5b42f8d7c2ec"}}}', 1795388759252, 652);
INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
VALUES ('a0577f64-a94a-47c1-ab16-52ccce42cbd1', 10, '{"type":"custom","customType":"openclaw:bootstrap-context:full","data":{"timestamp":1795388759265,"runId":"b2424691-ae62-4006-8e20-5b42f8d7c2ec","sessionId":"a0577f64-a94a-47c1-ab16-52ccce42cbd1"},"id":"96c25c42-03c9-41b7-86be-6cce0438b3b0","parentId":"ca775c3d-bb30-4128-bfb3-b680c5be809c","timestamp":"2026-11-22T23:05:59.265Z"}', 1795388759265, 330);
