// OpenAI's JavaScript library over its state APIs: conversations, stored completions, files; prints what it got.

import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const said = {};
const name = (error) => [error.constructor.name, error.status];

const talk = await client.conversations.create({
  metadata: { topic: "names" },
  items: [{ role: "user", content: "My name is Ada." }],
});
const first = await client.responses.create({ model, input: "What is my name?", conversation: talk.id });
let counted = "";
const stream = { model, input: "Count to 5.", conversation: talk.id, stream: true };
for await (const event of await client.responses.create(stream)) {
  if (event.type === "response.output_text.delta") counted += event.delta;
}
said.answered = [first.output_text, counted];
const changed = await client.conversations.update(talk.id, { metadata: { topic: "people" } });
said.conversation = [(await client.conversations.retrieve(talk.id)).id === talk.id, changed.metadata.topic];
await client.conversations.items.create(talk.id, {
  items: [
    { type: "function_call", call_id: "call_1", name: "get_weather", arguments: "{}" },
    { type: "function_call_output", call_id: "call_1", output: "rain" },
  ],
});
const items = [];
for await (const item of client.conversations.items.list(talk.id, { order: "asc", limit: 3 })) items.push(item);
said.items = items.map((item) => item.role ?? item.type);
said.paged = items.length;
const item = await client.conversations.items.retrieve(items[0].id, { conversation_id: talk.id });
said.item = item.content[0].text;
await client.conversations.items.delete(item.id, { conversation_id: talk.id });
said.left = (await client.conversations.items.list(talk.id)).data.length;
await client.conversations.delete(talk.id);
said.gone = await client.conversations.retrieve(talk.id).catch(name);

const made = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "What is 17 * 3?" }],
  store: true,
  metadata: { topic: "sums" },
});
const kept = await client.chat.completions.retrieve(made.id);
said.stored = [kept.choices[0].message.content, kept.metadata.topic];
said.updated = (await client.chat.completions.update(made.id, { metadata: { topic: "numbers" } })).metadata.topic;
const listed = async (topic) => (await client.chat.completions.list({ metadata: { topic }, limit: 5 })).data;
said.listed = [(await listed("numbers")).some((each) => each.id === made.id), (await listed("sums")).length];
said.messages = [];
for await (const each of client.chat.completions.messages.list(made.id)) said.messages.push(each.content);
const deleted = await client.chat.completions.delete(made.id);
said.deleted = [deleted.deleted, (await client.chat.completions.retrieve(made.id).catch(name))[0]];

const bytes = Buffer.from("Whales sleep in the sea.");
const file = await client.files.create({ file: await toFile(bytes, "whales.txt"), purpose: "user_data" });
said.file = [file.filename, file.purpose, file.bytes];
said.content = await (await client.files.content(file.id)).text();
const ids = [];
for await (const each of client.files.list({ limit: 1 })) ids.push(each.id);
said.files = [ids.includes(file.id), (await client.files.delete(file.id)).deleted];

console.log(JSON.stringify(said));
