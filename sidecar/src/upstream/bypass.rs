//! Who else listens on the server's port, and where: `/proc/net/tcp` and `tcp6`.
//!
//! The pod's containers share one network namespace, so the kernel's table shows the server's
//! sockets. Rows are `sl local_address rem_address st …`, addresses hexadecimal in the order of
//! this machine's memory, state `0A` is LISTEN.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's table of IPv4 sockets; the one of IPv6 stands beside it.
pub const PROC_NET_TCP: &str = "/proc/net/tcp";
const PROC_NET_TCP6: &str = "/proc/net/tcp6";
const LISTEN: &str = "0A";

/// What the tables say.
#[derive(Debug)]
pub enum Exposure {
    /// Nobody listens beyond loopback on this port.
    None,
    /// These do.
    Listeners(Vec<SocketAddr>),
    /// A table is not readable, so nobody knows.
    Unknown(std::io::Error),
}

pub(super) fn listeners_beyond_loopback(port: u16) -> Exposure {
    let v4 = match std::fs::read_to_string(PROC_NET_TCP) {
        Ok(table) => table,
        Err(error) => return Exposure::Unknown(error),
    };
    // A kernel without IPv6 has no such table.
    let v6 = match std::fs::read_to_string(PROC_NET_TCP6) {
        Ok(table) => table,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Exposure::Unknown(error),
    };
    let found: Vec<SocketAddr> = listeners(&v4)
        .chain(listeners(&v6))
        .filter(|address| address.port() == port && !address.ip().to_canonical().is_loopback())
        .collect();
    if found.is_empty() { Exposure::None } else { Exposure::Listeners(found) }
}

fn listeners(table: &str) -> impl Iterator<Item = SocketAddr> {
    table.lines().skip(1).filter_map(|row| {
        let mut columns = row.split_whitespace().skip(1);
        let local = columns.next()?;
        let state = columns.nth(1)?;
        (state == LISTEN).then(|| address(local))?
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|word| {
            let digits = ip.get(word * 8..word * 8 + 8)?;
            u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
        })
        .collect();
    let bytes = words?.concat();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn listening_rows_are_read_and_others_are_not() {
        let v4 = "  sl  local_address rem_address   st tx_queue\n\
                  0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000\n\
                  1: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000\n\
                  2: 0100007F:1F40 0100007F:D431 01 00000000:00000000 00:00000000\n";
        let found: Vec<String> = listeners(v4).map(|address| address.to_string()).collect();
        assert_eq!(found, ["127.0.0.1:8000", "0.0.0.0:8001"]);
        let v6 = "  sl  local_address rem_address   st\n\
                  0: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A\n\
                  1: 00000000000000000000000001000000:1F40 00000000000000000000000000000000:0000 0A\n";
        let found: Vec<String> = listeners(v6).map(|address| address.to_string()).collect();
        assert_eq!(found, ["[::]:8000", "[::1]:8000"]);
    }

    #[test]
    fn rows_that_are_not_rows_are_passed_over() {
        let table = "heading\n\n0:\n1: zz:1F40 x 0A\n2: 0100007F 0 0A\n3: 0100007F:FFFFF 0 0A\n";
        assert_eq!(listeners(table).count(), 0);
    }

    #[test]
    fn a_server_on_every_address_is_found_in_this_namespace() {
        let open = std::net::TcpListener::bind("0.0.0.0:0").expect("bind");
        let port = open.local_addr().expect("address").port();
        assert!(
            matches!(listeners_beyond_loopback(port), Exposure::Listeners(found) if found.len() == 1)
        );
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = closed.local_addr().expect("address").port();
        assert!(matches!(listeners_beyond_loopback(port), Exposure::None));
    }
}
