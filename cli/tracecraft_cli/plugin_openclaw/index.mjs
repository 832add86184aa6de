// OpenClaw's door to tracecraft: an edit of a file that another agent holds is refused, and new mail is announced.
//
// The tools and the skills come from the manifest. Whatever fails here (no tracecraft, no bus, too slow) changes
// nothing: the agent goes on as without us. `tracecraft install openclaw` writes settings.json beside this file.

import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";

const PATIENCE_MS = 3000; // for one question; OpenClaw itself would wait for 15 s
const MOST_FILES = 50;
const EDITS = ["write", "edit", "apply_patch"];
const settings = JSON.parse(fs.readFileSync(path.join(path.dirname(fileURLToPath(import.meta.url)), "settings.json"), "utf8"));
const agent = settings.environment.TRACECRAFT_AGENT ?? "";

/** What a tracecraft command answers, or undefined. */
function ask(words, folder) {
  const options = { cwd: folder, timeout: PATIENCE_MS, env: { ...process.env, ...settings.environment, TRACECRAFT_JSON: "1" } };
  return new Promise((resolve) => {
    try {
      execFile(settings.program, words, options, (_error, output) => resolve(results(output)));
    } catch {
      resolve(undefined);
    }
  });
}

/** The results in the lines of a command's JSON; undefined when it failed. */
function results(output) {
  try {
    const lines = String(output).trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
    return lines.every((line) => line.ok) ? lines.map((line) => line.result) : undefined;
  } catch {
    return undefined;
  }
}

/** The files that a tool call would change, as far as it names them. */
function edited(event) {
  const params = event.params ?? {};
  const named = [params.path, params.file_path, params.filePath].filter((one) => typeof one === "string" && one);
  const patch = [params.input, params.patch].find((one) => typeof one === "string" && one.includes("*** Begin Patch")) ?? "";
  const patched = [...patch.matchAll(/^\*\*\* (?:Add File|Update File|Delete File|Move to): (.+)$/gm)].map((match) => match[1].trim());
  return [...new Set([...named, ...patched, ...(event.derivedPaths ?? [])])].slice(0, MOST_FILES);
}

/** Names have few characters on the bus; this says so once more before one is shown to a model. */
function plain(text) {
  return String(text).replace(/[^A-Za-z0-9_=/.*[\]{}-]/g, "?").slice(0, 200);
}

/** The folder in which an agent works: relative paths of its tools begin there. */
function workspace(api, agentId) {
  try {
    return api.runtime.agent.resolveAgentWorkspaceDir(api.config, agentId ?? "main");
  } catch {
    return undefined;
  }
}

async function gate(api, event, ctx) {
  const folder = workspace(api, ctx?.agentId);
  const files = edited(event).map((file) => (folder ? path.resolve(folder, file) : file));
  if (!files.length) return undefined;
  const found = await ask(["reserve", "--list", ...files], folder);
  const held = found?.flat().find((one) => one.owner !== agent);
  if (!held) return undefined;
  const who = plain(held.owner);
  const blockReason =
    `this file is reserved by the agent ${who} (${plain(held.glob)}). Do not edit it. ` +
    `Work on something else, or ask: use tracecraft's tool send, to ${who}.`;
  return { block: true, blockReason };
}

async function announce(api, ctx) {
  const found = await ask(["inbox", "--peek", "--limit", "50"], workspace(api, ctx?.agentId));
  const senders = found?.flatMap((one) => one.messages ?? []).map((message) => plain(message.from)) ?? [];
  if (!senders.length) return undefined;
  const names = [...new Set(senders)].slice(0, 8).join(", ");
  return { prependContext: `tracecraft: ${senders.length} unread message(s) for you from ${names}. Read them with the tool inbox of tracecraft.` };
}

/** A hook that fails must not stop the agent: OpenClaw blocks a tool call whose gate threw. */
function harmless(work) {
  return async (event, ctx) => {
    try {
      return await work(event, ctx);
    } catch {
      return undefined;
    }
  };
}

export default definePluginEntry({
  id: "tracecraft",
  name: "tracecraft",
  description: "Names, tasks, messages and file reservations for agents that work side by side",
  register(api) {
    api.on("before_tool_call", harmless((event, ctx) => gate(api, event, ctx)), { matcher: EDITS });
    api.on("before_prompt_build", harmless((_event, ctx) => announce(api, ctx)));
  },
});
