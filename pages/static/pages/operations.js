// Everything that this page asks of the service, one function each.
import { graphql, request } from "./api.js";
import { claim } from "./identity.js";

export const PAGE = 40;
const MESSAGE = `id parentId role author content html model status finishReason emptyReason reasoning { text seconds } toolCalls { name arguments } files { id name } position createdAt versions feedback { rating comment } run { id state model errorCode errorMessage retryAt }`;
const EDGES = `edges { node { ${MESSAGE} } } pageInfo { hasNextPage hasPreviousPage }`;
const IN_LIST = `id title archived pinned updatedAt`;
const listed = (connection) => ({ rows: connection.edges.map((edge) => edge.node), page: connection.pageInfo });
// The model that was asked last, as it was named then.
const LAST = "last: messages(last: 4) { edges { node { run { model } } } }";
const modelIn = (last) => listed(last).rows.findLast((row) => row.run)?.run.model ?? null;
const cursorOf = (id) => id.replaceAll("-", "");

const ME = "me { id username isGuest isStaff }";
const asAnybody = { anybody: true };

// Whoever this browser is signed in as now.
export const whoIsHere = async () => (await graphql(`{ ${ME} }`, {}, asAnybody)).me;

// The page's first question: from here on it is the page of who is here now.
export async function hello() {
  const known = await graphql(`{ ${ME} me { preferredModel defaultGeneration } models defaultModel }`, {}, asAnybody);
  claim(known.me);
  return known;
}

// With the first page come all tags, and those that are pinned, whatever page they are on.
export async function conversations({ archived = false, tag = null, after = null } = {}) {
  const edges = `edges { node { ${IN_LIST} activeRun { id } } } pageInfo { hasNextPage endCursor }`;
  const pinned = after ? "" : `tags pinned: conversations(first: 30, archived: $archived, tag: $tag, pinned: true) { ${edges} }`;
  const data = await graphql(
    `query ($archived: Boolean, $tag: String, $after: String) {
       ${pinned} conversations(first: 30, archived: $archived, tag: $tag, after: $after) { ${edges} } }`,
    { archived, tag, after },
  );
  return { ...listed(data.conversations), tags: data.tags ?? [], pinned: after ? [] : listed(data.pinned).rows };
}

export async function conversation(id) {
  const data = await graphql(
    `query ($id: ID!) { conversation(id: $id) { ${IN_LIST} generation activeRun { id } ${LAST} messages(last: ${PAGE}) { ${EDGES} } } }`,
    { id },
  );
  if (!data.conversation) return null;
  const { messages, last, ...talk } = data.conversation;
  const found = listed(messages);
  return { ...talk, model: modelIn(last), rows: found.rows, older: found.page.hasPreviousPage, newer: false };
}

const GENERATION = { instructions: "instructions", temperature: "temperature", topP: "top_p", maxTokens: "max_tokens", reasoningEffort: "reasoning_effort" };
// As GraphQL takes it what it shows as JSON.
const asInput = (generation) =>
  generation && Object.fromEntries(Object.entries(GENERATION).map(([name, stored]) => [name, generation[stored] ?? null]));

export const generationOf = async (id) =>
  (await graphql("query ($id: ID!) { conversation(id: $id) { generation } }", { id })).conversation?.generation ?? null;

export const setGeneration = (id, generation) =>
  graphql(
    "mutation ($id: ID!, $generation: ConversationGeneration) { setGeneration(id: $id, generation: $generation) { id } }",
    { id, generation: asInput(generation) },
  );

// The title of a conversation; null if it is not there.
export const titleOf = async (id) =>
  (await graphql("query ($id: ID!) { conversation(id: $id) { title } }", { id })).conversation?.title ?? null;

// The messages before or after one of the branch that is shown.
export async function more(id, { before = null, after = null }) {
  const [side, cursor] = before ? ["last", before] : ["first", after];
  const data = await graphql(
    `query ($id: ID!, $before: String, $after: String) {
       conversation(id: $id) { messages(${side}: ${PAGE}, before: $before, after: $after) { ${EDGES} } } }`,
    { id, before: before && cursorOf(cursor), after: after && cursorOf(cursor) },
  );
  const found = listed(data.conversation.messages);
  return { rows: found.rows, more: before ? found.page.hasPreviousPage : found.page.hasNextPage };
}

// A message with the messages around it; its branch is shown first if it is not, or null returned without `mayShow`.
export async function around(id, messageId, { mayShow = true } = {}) {
  const query = `query ($id: ID!, $message: ID!, $cursor: String!) {
    message(id: $message) { ${MESSAGE} }
    conversation(id: $id) { ${IN_LIST} generation activeRun { id } ${LAST}
      before: messages(last: 20, before: $cursor) { ${EDGES} }
      after: messages(first: 20, after: $cursor) { ${EDGES} } } }`;
  const variables = { id, message: messageId, cursor: cursorOf(messageId) };
  let data;
  try {
    data = await graphql(query, variables);
  } catch (problem) {
    if (problem.code !== "bad_cursor") throw problem;
    if (!mayShow) return null;
    await showBranch(messageId);
    data = await graphql(query, variables);
  }
  if (!data.message || !data.conversation) return null;
  const { before, after, last, ...talk } = data.conversation;
  const rows = [...listed(before).rows, data.message, ...listed(after).rows];
  return { ...talk, model: modelIn(last), rows, older: before.pageInfo.hasPreviousPage, newer: after.pageInfo.hasNextPage };
}

export const message = async (id) =>
  (await graphql(`query ($id: ID!) { message(id: $id) { ${MESSAGE} } }`, { id })).message;

// The finished blocks of an answer that is being written: their HTML, their lines, and the state to go on with.
export const finishedBlocks = async (text, state) => {
  const query = "query ($text: String!, $state: String!) { finishedBlocks(text: $text, state: $state) { html lines state } }";
  return (await graphql(query, { text, state })).finishedBlocks;
};

// The pictures and files of each message that has any, by its id.
export const filesOf = (ids) => request(`/files?${new URLSearchParams(ids.map((id) => ["message", id]))}`);

const BEGUN = `runId conversation { ${IN_LIST} generation } question { ${MESSAGE} } message { ${MESSAGE} }`;

// `parentId`: undefined appends to the shown branch, null starts a new one. The same `key` is never asked twice.
// `generation` is for a new conversation: null leaves it to the user's default, `{}` is none.
export async function send({ content, conversationId, parentId, model, key, whenBusy = "REJECT", fileIds = [], generation = null }) {
  const variables = { content, conversationId: conversationId ?? null, model, key, whenBusy, fileIds: fileIds.length ? fileIds : null };
  const at = parentId === undefined ? "" : ", parentId: $parentId";
  if (at) variables.parentId = parentId;
  if (generation) variables.generation = asInput(generation);
  const data = await graphql(
    `mutation ($content: String!, $conversationId: ID, ${at ? "$parentId: ID, " : ""}$model: String, $key: String, $whenBusy: WhenBusy!, $fileIds: [ID!]${generation ? ", $generation: ConversationGeneration" : ""}) {
       sendMessage(content: $content, fileIds: $fileIds, conversationId: $conversationId${at}, model: $model,
         idempotencyKey: $key, whenBusy: $whenBusy, wait: false${generation ? ", conversationGeneration: $generation" : ""}) { ${BEGUN} } }`,
    variables,
  );
  return data.sendMessage;
}

export async function regenerate(messageId, { model, key }) {
  const data = await graphql(
    `mutation ($messageId: ID!, $model: String, $key: String) {
       regenerate(messageId: $messageId, model: $model, idempotencyKey: $key, wait: false) { ${BEGUN} } }`,
    { messageId, model, key },
  );
  return data.regenerate;
}

// With the model that wrote it.
export async function continueAnswer(messageId, { key }) {
  const data = await graphql(
    `mutation ($messageId: ID!, $key: String) {
       continueAnswer(messageId: $messageId, idempotencyKey: $key, wait: false) { ${BEGUN} } }`,
    { messageId, key },
  );
  return data.continueAnswer;
}

export const stop = (runId) => graphql("mutation ($runId: ID!) { stopRun(runId: $runId) { id state } }", { runId });

export const showBranch = (messageId) =>
  graphql("mutation ($messageId: ID!) { showBranch(messageId: $messageId) { id } }", { messageId });

// `rating` is UP or DOWN.
export async function setFeedback(messageId, rating, comment = "") {
  const data = await graphql(
    `mutation ($messageId: ID!, $rating: FeedbackRating!, $comment: String!) {
       setFeedback(messageId: $messageId, rating: $rating, comment: $comment) { rating comment } }`,
    { messageId, rating, comment },
  );
  return data.setFeedback;
}

export const deleteFeedback = (messageId) =>
  graphql("mutation ($messageId: ID!) { deleteFeedback(messageId: $messageId) }", { messageId });

const LINK = "id path title messageId createdAt expiresAt";

// Those of a conversation that have not expired, newest first.
export const sharedLinks = async (conversationId) =>
  (await graphql(`query ($id: ID!) { sharedLinks(conversationId: $id) { ${LINK} } }`, { id: conversationId })).sharedLinks;

export async function shareConversation(messageId, { days, title }) {
  const data = await graphql(
    `mutation ($messageId: ID!, $days: Int!, $title: String!) {
       shareConversation(messageId: $messageId, expiresInDays: $days, title: $title) { ${LINK} } }`,
    { messageId, days, title },
  );
  return data.shareConversation;
}

export const revokeSharedLink = (id) => graphql("mutation ($id: ID!) { revokeSharedLink(id: $id) }", { id });

export const rename = (id, title) =>
  graphql("mutation ($id: ID!, $title: String!) { renameConversation(id: $id, title: $title) { id } }", { id, title });

export const archive = (id, archived) =>
  graphql(
    "mutation ($id: ID!, $archived: Boolean!) { archiveConversation(id: $id, archived: $archived) { id } }",
    { id, archived },
  );

export const pin = (id, pinned) =>
  graphql("mutation ($id: ID!, $pinned: Boolean!) { pinConversation(id: $id, pinned: $pinned) { id } }", { id, pinned });

// The tags of a conversation, and all that there are.
export async function tagsOf(id) {
  const { conversation, tags } = await graphql("query ($id: ID!) { conversation(id: $id) { tags } tags }", { id });
  return { mine: conversation?.tags ?? [], all: tags };
}

export const setTags = (id, tags) =>
  graphql("mutation ($id: ID!, $tags: [String!]!) { setTags(id: $id, tags: $tags) { id } }", { id, tags });

export const remove = (id) => graphql("mutation ($id: ID!) { deleteConversation(id: $id) }", { id });

// `mode` is hybrid, text or semantic. `note` says what did not work as it should; `excluded` are the
// words that were left out. The hits of a conversation are folded into its best one, unless it is `conversationId`.
export async function search(query, { after = null, mode = "hybrid", conversationId = null } = {}) {
  const data = await graphql(
    `query ($query: String!, $after: String, $mode: String, $conversationId: ID, $group: String) {
       search(query: $query, first: 20, after: $after, mode: $mode, conversationId: $conversationId, group: $group) {
       why excluded pageInfo { hasNextPage endCursor }
       edges { node { snippet highlights matched found others branch message { id role createdAt } conversation { id title archived } } } } }`,
    { query, after, mode, conversationId, group: conversationId ? null : "conversation" },
  );
  const { why, excluded } = data.search;
  return { ...listed(data.search), note: why, excluded };
}
