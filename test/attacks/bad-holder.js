/**
 * Listens as a session's holder does and answers each line with the same: `bad-holder.js FOLDER REPLY [PID]`.
 * `ID` in the reply becomes the request's id. Says so once it listens.
 */
import { createServer } from "node:net";

const [folder, reply, pid] = process.argv.slice(2);

const server = createServer((socket) => {
  socket.on("error", () => {});
  if (reply === "HANG UP") return socket.destroy();
  if (reply === "ENDLESS") return flood(socket);
  socket.on("data", (piece) => {
    if (reply === "SILENCE") return;
    const id = /"id":\s*("[^"]*"|\d+)/.exec(String(piece))?.[1] ?? "null";
    socket.write(`${reply.replaceAll("ID", () => id)}\n`);
  });
});

/** Bytes without a newline, as fast as they are taken. */
function flood(socket) {
  const piece = Buffer.alloc(65536, "x");
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on("drain", more);
  more();
}

server.listen(`${folder}/${pid || process.pid}-abcdef.sock`, () => console.log("listening"));
// Nobody waits for it for longer.
setTimeout(() => process.exit(), 60_000).unref();
