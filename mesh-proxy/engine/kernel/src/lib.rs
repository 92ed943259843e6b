//! What the engine asks of Linux that rustix has no safe call for. All `unsafe` code of the engine is in this file, each use
//! with the reason why it is sound; the crates above forbid it.

use std::io::{Error, Result};
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `SO_MEMINFO` of <asm-generic/socket.h>; libc has no name for it.
const SO_MEMINFO: libc::c_int = 55;
/// Indices of <linux/sock_diag.h>: bytes that came, that were allocated ahead, that are to be sent.
const MEMINFO: [usize; 3] = [0, 4, 5];
const MEMINFO_COUNT: usize = 9;

/// Takes over a descriptor that somebody else opened, such as a socket that the program had before it gave up its privileges.
///
/// # Errors
/// Where the number is no descriptor of this process.
pub fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: fcntl(2) with F_DUPFD_CLOEXEC touches no memory; of a number that is no descriptor it returns an error. The new
    // descriptor belongs to nobody else, so that it may be closed by its owner. The first one stays with whoever opened it.
    let own = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if own < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: `own` is open, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

/// How many bytes the peer's kernel has not acknowledged, with the end of the direction counted as one (SIOCOUTQ of tcp(7),
/// which is TIOCOUTQ).
///
/// # Errors
/// Where the socket is not connected any more.
pub fn unacknowledged(socket: &impl AsFd) -> Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to a place that is one and lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(bytes.unsigned_abs()) }
}

/// How many bytes of memory the kernel holds for a socket; 0 where it does not say.
pub fn memory_of(socket: &impl AsFd) -> u64 {
    let mut numbers = [0_u32; MEMINFO_COUNT];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `numbers`; both live until the call returns.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, SO_MEMINFO, numbers.as_mut_ptr().cast(), &raw mut length) };
    if result < 0 { 0 } else { MEMINFO.iter().map(|&at| u64::from(numbers[at])).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_is_no_descriptor_is_not_adopted() {
        assert!(adopt(-1).is_err());
        assert!(adopt(1_000_000).is_err());
    }

    #[test]
    fn an_adopted_listener_shares_its_queue() {
        let listener = TcpListener::bind("127.85.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let twin = TcpListener::from(adopt(listener.as_raw_fd()).unwrap());
        drop(listener);
        let _client = TcpStream::connect(address).unwrap();
        assert!(twin.accept().is_ok());
    }

    #[test]
    fn what_nobody_reads_is_unacknowledged_only_when_the_window_is_closed() {
        let listener = TcpListener::bind("127.85.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        assert_eq!(unacknowledged(&client).unwrap(), 0);
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 65_536]).is_ok() {}
        assert!(unacknowledged(&client).unwrap() > 0);
        assert!(memory_of(&client) > 65_536);
    }
}
