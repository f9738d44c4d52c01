// Every word that the pages say, in English and Chinese, and the choice between them.

const WORDS = {
  en: {
    assistant: "Assistant",
    operator: "Colleague",
    you: "You",
    skip: "Skip to the message box",
    conversations: "Conversations",
    close: "Close",
    new: "New conversation",
    untitled: "New conversation",
    language: "中文",
    theme: "Light or dark",
    messages: "Messages",
    hello: "What can I do for you?",
    hello_more: "Ask a question, have a text summarised, or talk to a colleague.",
    write: "Write a message",
    keys: "Enter sends, Shift+Enter starts a new line",
    send: "Send",
    stop: "Stop the answer",
    new_messages: "New messages",
    earlier: "Earlier messages",
    unquote: "Remove the quote",
    remove: "Remove from this list",
    remove_sure: "Remove?",
    joining: "Connecting…",
    offline: "Reconnecting…",
    ready: "Ready",
    thinking: "Thinking…",
    writing: "Writing…",
    called: "Waiting for a colleague",
    called_note:
      "A colleague was called and will answer here; the assistant stays quiet meanwhile.",
    person: "With a colleague",
    person_note:
      "A colleague reads along and answers here; the assistant stays quiet meanwhile.",
    back_note: "The assistant is back.",
    pending: "Sending…",
    waiting: "Will be sent when the connection is back",
    edit: "Edit",
    discard: "Discard",
    again: "Try again",
    expired: "Arrived more than a day late, so it was not answered",
    stopped: "Stopped",
    cancelled: "Interrupted",
    failed: "Not finished",
    copy: "Copy",
    copied: "Copied",
    quote: "Quote",
    up: "Good answer",
    down: "Poor answer",
    thanks: "Thank you",
    today: "Today",
    yesterday: "Yesterday",
    answered: "The assistant answered:",
    idea_1: "Explain it",
    idea_1_text: "Explain to me in simple words: what is an event log?",
    idea_2: "Write for me",
    idea_2_text: "Write a short, friendly e-mail that moves a meeting to Friday.",
    idea_3: "Summarise a text",
    idea_3_text: "Summarise this text:\n",
    idea_4: "Talk to a colleague",
    idea_4_text: "human",
    desk: "Operator desk",
    desk_more: "Conversations that wait for a person.",
    token: "Operator token",
    sign_in: "Sign in",
    sign_out: "Sign out",
    token_help: "It was made at the first start: the file operator.token in the data directory.",
    token_wrong: "That is not the token. After ten wrong ones in a minute, wait a minute.",
    nobody: "Nobody is waiting",
    nobody_more: "Conversations that are handed over appear here by themselves.",
    choose: "Choose a conversation on the left",
    hand_back: "Hand back to the assistant",
    handed_back: "Handed back",
    say: "Write to this person",
    unanswered: "unanswered",
    unreachable: "The server does not answer. Trying again…",
    since: "here since",
  },
  zh: {
    assistant: "智能助手",
    operator: "人工同事",
    you: "我",
    skip: "跳到输入框",
    conversations: "会话列表",
    close: "关闭",
    new: "新会话",
    untitled: "新会话",
    language: "English",
    theme: "浅色或深色",
    messages: "消息",
    hello: "有什么可以帮您？",
    hello_more: "可以提问、总结一段文字，或者转接人工同事。",
    write: "输入消息",
    keys: "Enter 发送，Shift+Enter 换行",
    send: "发送",
    stop: "停止回答",
    new_messages: "有新消息",
    earlier: "更早的消息",
    unquote: "取消引用",
    remove: "从列表中移除",
    remove_sure: "确定移除？",
    joining: "正在连接…",
    offline: "正在重新连接…",
    ready: "在线",
    thinking: "正在思考…",
    writing: "正在回答…",
    called: "正在等待人工同事",
    called_note: "已呼叫人工同事，对方会在这里回复；其间助手不会插话。",
    person: "人工服务中",
    person_note: "人工同事正在接待，会在这里回复；其间助手不会插话。",
    back_note: "智能助手回来了。",
    pending: "正在发送…",
    waiting: "恢复连接后自动发送",
    edit: "编辑",
    discard: "删除",
    again: "重试",
    expired: "迟到超过一天，未作回答",
    stopped: "已停止",
    cancelled: "已中断",
    failed: "未完成",
    copy: "复制",
    copied: "已复制",
    quote: "引用",
    up: "回答得好",
    down: "回答得不好",
    thanks: "谢谢反馈",
    today: "今天",
    yesterday: "昨天",
    answered: "助手回答：",
    idea_1: "解释一下",
    idea_1_text: "请用简单的话解释：什么是事件日志？",
    idea_2: "帮我写",
    idea_2_text: "帮我写一封简短友好的邮件，把会议改到周五。",
    idea_3: "总结文字",
    idea_3_text: "总结：",
    idea_4: "转人工",
    idea_4_text: "转人工",
    desk: "人工坐席",
    desk_more: "等待人工处理的会话。",
    token: "坐席令牌",
    sign_in: "登录",
    sign_out: "退出登录",
    token_help: "令牌在首次启动时生成：数据目录中的 operator.token 文件。",
    token_wrong: "令牌不正确。一分钟内错误十次后，请等待一分钟。",
    nobody: "没有等待的会话",
    nobody_more: "转人工的会话会自动出现在这里。",
    choose: "请从左侧选择一个会话",
    hand_back: "交还给助手",
    handed_back: "已交还",
    say: "回复对方",
    unanswered: "条未回复",
    unreachable: "服务器没有响应，正在重试…",
    since: "接入时间",
  },
};

function kept() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null;
  }
}

function chosen() {
  const wanted = kept() || navigator.language || "en";
  return wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
}

let language = chosen();

/** The word for `key` in the language of the page. */
export function w(key) {
  return WORDS[language][key] ?? WORDS.en[key] ?? key;
}

/** A language tag for dates and for the assistant. */
export function locale() {
  if (language === "zh") return "zh-CN";
  return navigator.language?.toLowerCase().startsWith("en") ? navigator.language : "en";
}

/** Put the words into everything under `root` that names one. */
export function translate(root = document) {
  document.documentElement.lang = locale();
  for (const node of root.querySelectorAll("[data-w]")) node.textContent = w(node.dataset.w);
  for (const node of root.querySelectorAll("[data-w-label]")) {
    node.setAttribute("aria-label", w(node.dataset.wLabel));
    if (node.tagName === "BUTTON") node.title = w(node.dataset.wLabel);
  }
  for (const node of root.querySelectorAll("[data-w-hint]"))
    node.placeholder = w(node.dataset.wHint);
  const glyph = document.getElementById("language-glyph");
  if (glyph) glyph.textContent = language === "zh" ? "En" : "中";
}

/** The other language; remembered. */
export function toggleLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem("language", language);
  } catch {
    /* remembered until the page closes */
  }
  translate();
}

const shapes = new Map(); // a formatter costs more to make than a line to show

function format(ms, shape) {
  const key = locale() + JSON.stringify(shape);
  if (!shapes.has(key)) shapes.set(key, new Intl.DateTimeFormat(locale(), shape));
  return shapes.get(key).format(ms);
}

/** 14:05, in the reader's own way. */
export function clock(ms) {
  return format(ms, { hour: "2-digit", minute: "2-digit" });
}

/** Today, yesterday, or a date. */
export function day(ms) {
  const now = new Date();
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  if (ms >= midnight && ms < midnight + 86_400_000) return w("today");
  if (ms >= midnight - 86_400_000 && ms < midnight) return w("yesterday");
  const sameYear = new Date(ms).getFullYear() === now.getFullYear();
  return format(ms, { month: "long", day: "numeric", ...(sameYear ? {} : { year: "numeric" }) });
}
