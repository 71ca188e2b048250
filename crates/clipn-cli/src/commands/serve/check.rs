//! `clipn serve --check`: the health of a running server, for health checks of containers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::ServeArgs;
use crate::common::error::CliError;

/// Time for connecting, and for the response.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum bytes of a response.
const MAX_BYTES: u64 = 1 << 20;

/// Succeeds if the server with these settings is healthy.
pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    // A server that listens on all addresses is also on this machine.
    let host = match args.host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    let address = SocketAddr::new(host, args.port);
    let response = query(address).map_err(|source| CliError::NoServer { address, source })?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    if head.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let health: Value = serde_json::from_str(body).unwrap_or_default();
    let problems = health["problems"].as_array().into_iter().flatten();
    let problems: Vec<&str> = problems.filter_map(Value::as_str).collect();
    let problem = match problems.as_slice() {
        [] => head.lines().next().unwrap_or_default().to_owned(),
        problems => problems.join("; "),
    };
    Err(CliError::Unhealthy { address, problem })
}

fn query(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
