//! Listening sockets. All threads wait for connections of the same one, and each connection wakes one of them.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;

const BACKLOG: i32 = 4096;

/// Listens when it returns.
pub fn listen(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = tcp(at)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &at)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

pub fn tcp(towards: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if towards.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

/// A connection, and who made it.
pub fn accept(listener: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let (fd, peer) = net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    Ok((fd, peer.and_then(|peer| peer.try_into().ok())))
}

pub fn local_address(fd: &OwnedFd) -> Option<SocketAddr> {
    net::getsockname(fd).ok()?.try_into().ok()
}
