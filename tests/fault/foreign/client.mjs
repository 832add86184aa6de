// A NATS client in another language: knows the protocol's names (docs/reference/protocol.md) and nothing of tracecraft.
//
//   node client.mjs SERVER TOKEN follow PROJECT COUNT      every entry of the log under tc.PROJECT.>
//   node client.mjs SERVER TOKEN do                        one command a line on stdin, as a JSON array

import { createInterface } from "node:readline";
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const [server, token, action, ...rest] = process.argv.slice(2);
const tell = (facts) => process.stdout.write(JSON.stringify(facts) + "\n");

const connection = await connect({ servers: server, token });
const stream = jetstream(connection);

async function follow(project, count) {
  const consumer = await stream.consumers.get("TC_LOG", { filter_subjects: `tc.${project}.>` });
  const messages = await consumer.consume();
  tell({ event: "following" });
  let seen = 0;
  for await (const message of messages) {
    tell({ event: "entry", seq: message.seq, subject: message.subject, body: message.string() });
    if (++seen === Number(count)) break;
  }
}

const commands = {
  async publish(subject, body) {
    return { seq: (await stream.publish(subject, body)).seq };
  },
  async get(key) {
    const entry = await bucket.get(key);
    return entry && { value: entry.json(), revision: entry.revision };
  },
  async put(key, value) {
    return { revision: await bucket.put(key, JSON.stringify(value)) };
  },
  async update(key, value, revision) {
    return { revision: await bucket.update(key, JSON.stringify(value), revision) };
  },
};

let bucket;
if (action === "follow") {
  await follow(...rest);
} else {
  bucket = await new Kvm(connection).open("tc_memory");
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...args] = JSON.parse(line);
    try {
      tell({ event: name, result: await commands[name](...args) });
    } catch (error) {
      tell({ event: name, refused: error.message });
    }
  }
}
await connection.close();
