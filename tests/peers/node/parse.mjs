// Reads messages with mailparser: a JSON list of base64 on standard input, a list of what it found on
// standard output.
import { simpleParser } from "mailparser";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const options = { skipHtmlToText: true, skipTextToHtml: true, skipImageLinks: true };

const found = [];
for (const octets of JSON.parse(Buffer.concat(chunks).toString())) {
  const mail = await simpleParser(Buffer.from(octets, "base64"), options);
  found.push({
    names: mail.headerLines.map((line) => line.key),
    subject: mail.subject ?? "",
    from: mail.from.value.map((one) => [one.name, one.address]),
    to: mail.to.value.map((one) => [one.name, one.address]),
    text: mail.text ?? null,
    html: mail.html || null,
    files: mail.attachments.map((file) => ({
      name: file.filename ?? null,
      type: file.contentType,
      id: file.cid ?? null,
      content: file.content.toString("base64"),
    })),
  });
}
console.log(JSON.stringify(found));
