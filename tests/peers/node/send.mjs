// Sends one message with nodemailer as its users write it; takes {host, port, secure, pass, message} as
// JSON on standard input and prints the server's answer.
import nodemailer from "nodemailer";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { host, port, secure, pass, message } = JSON.parse(Buffer.concat(chunks).toString());

const transporter = nodemailer.createTransport({
  host,
  port,
  secure, // false: STARTTLS upgrade happens automatically
  requireTLS: !secure,
  auth: { user: "x", pass }, // user is ignored
  tls: { rejectUnauthorized: false }, // the relay's own certificate
});

const info = await transporter.sendMail(message);
console.log(JSON.stringify({ response: info.response, rejected: info.rejected }));
