//! Sockets.

use super::names;
use crate::Errno;
use crate::row::rows;

/// How calls end that are made again after handlers with SA_RESTART.
const INTR: Errno = Errno::ERESTARTSYS;

rows! {
    socket(domain: Enum(names::DOMAIN), kind: Mixed(0xf, names::SOCKET_KIND, names::SOCKET), protocol: Int) = Pass;
    socketpair(domain: Enum(names::DOMAIN), kind: Mixed(0xf, names::SOCKET_KIND, names::SOCKET), protocol: Int, fds: OutFixed(8)) = Pass;
    bind(fd: Fd, address: SockAddr(2), length: Size) = Pass;
    connect(fd: Fd, address: SockAddr(2), length: Size) = Block(INTR);
    listen(fd: Fd, backlog: Int) = Pass;
    accept(fd: Fd, address: OutSized(2), length: OutFixed(4)) = Block(INTR);
    accept4(fd: Fd, address: OutSized(2), length: OutFixed(4), flags: Flags(names::SOCKET)) = Block(INTR);
    shutdown(fd: Fd, how: Enum(names::SHUTDOWN)) = Pass;
    getsockname(fd: Fd, address: OutSized(2), length: OutFixed(4)) = Pass;
    getpeername(fd: Fd, address: OutSized(2), length: OutFixed(4)) = Pass;
    getsockopt(fd: Fd, level: Enum(names::LEVEL), option: Int, value: OutSized(4), length: OutFixed(4)) = Pass;
    setsockopt(fd: Fd, level: Enum(names::LEVEL), option: Int, value: In(4), length: Uint) = Pass;
    sendto(fd: Fd, buffer: In(2), length: Size, flags: Flags(names::MESSAGE), address: SockAddr(5), address_length: Size) = Block(INTR);
    recvfrom(fd: Fd, buffer: Out(2), length: Size, flags: Flags(names::MESSAGE), address: OutSized(5), address_length: OutFixed(4)) = Block(INTR);
    sendmsg(fd: Fd, message: Address, flags: Flags(names::MESSAGE)) = Block(INTR);
    recvmsg(fd: Fd, message: OutMsg, flags: Flags(names::MESSAGE)) = Block(INTR);
    sendmmsg(fd: Fd, messages: OutArray(2, 64), count: Uint, flags: Flags(names::MESSAGE)) = Block(INTR);
    recvmmsg(fd: Fd, messages: OutMsgs(2), count: Uint, flags: Flags(names::MESSAGE), timeout: OutFixed(16)) = Block(INTR);
}
