// The parser of Markdown. Its HTML is off, and its tokens are drawn by the console itself.
export { default as MarkdownIt } from "markdown-it";
