// OpenAI's JavaScript library: responses, whole, streamed, parsed, kept, followed; prints what it got.

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const said = {};

const first = await client.responses.create({ model, input: "My name is Ada. What is 17 * 3?" });
said.text = first.output_text;
const continued = await client.responses.create({
  model,
  input: "What is my name?",
  previous_response_id: first.id,
});
said.continued = continued.output_text;

said.types = [];
said.streamed = "";
for await (const event of await client.responses.create({ model, input: "Count to 5.", stream: true })) {
  said.types.push(event.type);
  if (event.type === "response.output_text.delta") said.streamed += event.delta;
}

const helper = client.responses.stream({ model, input: "Count to 5." });
said.helper = (await helper.finalResponse()).output_text;

const Scientist = z.object({ name: z.string(), age: z.number() });
const parsed = await client.responses.parse({
  model,
  input: "Invent a person who is 41.",
  text: { format: zodTextFormat(Scientist, "person") },
});
said.parsed = parsed.output_parsed;

const tools = [
  {
    type: "function",
    name: "get_weather",
    strict: true,
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
];
const called = await client.responses.create({ model, input: "What is the weather in Paris?", tools });
said.call = [called.output[0].name, JSON.parse(called.output[0].arguments)];
const answered = await client.responses.create({
  model,
  tools,
  previous_response_id: called.id,
  input: [{ type: "function_call_output", call_id: called.output[0].call_id, output: "rain" }],
});
said.result = answered.output_text;

const retrieved = await client.responses.retrieve(first.id);
said.retrieved = retrieved.output_text;
said.items = [];
for await (const item of client.responses.inputItems.list(continued.id, { order: "asc", limit: 2 })) {
  said.items.push(item.role);
}
said.tokens = (await client.responses.inputTokens.count({ model, input: "What is 17 * 3?" })).input_tokens > 0;
said.compacted = (await client.responses.compact({ model, previous_response_id: first.id })).output.at(-1).type;

const background = await client.responses.create({ model, input: "Count to 9.", background: true, stream: true });
let seen = 0;
let id;
for await (const event of background) {
  id ??= event.response.id;
  if (++seen === 5) break;
}
said.resumed = [];
for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: 4 })) {
  said.resumed.push(event.sequence_number);
}
said.resumed = [said.resumed[0], (await client.responses.retrieve(id)).output_text];

const slow = await client.responses.create({ model: `${model}:30ms`, input: "Write a long essay.", background: true });
await client.responses.cancel(slow.id);
let state = slow;
for (let left = 200; left && ["queued", "in_progress"].includes(state.status); left--) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  state = await client.responses.retrieve(slow.id);
}
said.cancelled = state.status;

await client.responses.delete(first.id);
said.deleted = await client.responses.retrieve(first.id).catch((error) => [error.constructor.name, error.status]);

console.log(JSON.stringify(said));
