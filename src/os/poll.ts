import { bindLibc, I32, I64, NativeBuffer } from "./libc.ts";

/** `POLLERR` and `POLLHUP` of poll(2), which are reported without being asked for. */
const POLLERR = 0x8;
const POLLHUP = 0x10;

const pollCall = bindLibc("poll", [I64, I64, I32]);
/** `struct pollfd`: int fd; short events; short revents. */
const pollfd = new NativeBuffer(8);

/**
 * Whether nobody reads the other end of a pipe or socket any more, without writing to it: poll(2) has
 * POLLERR for the writing end of a pipe whose readers are gone, POLLHUP for a socket.
 */
export function isAbandoned(fd: number): boolean {
  pollfd.view.setInt32(0, fd, true);
  pollfd.view.setInt32(4, 0, true);
  return (
    pollCall(pollfd.address, 1, 0).value > 0 && (pollfd.view.getInt16(6, true) & (POLLERR | POLLHUP)) !== 0
  );
}
