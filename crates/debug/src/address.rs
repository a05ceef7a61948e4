//! Where a monitor or a debugger is listened for.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

/// An address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A TCP port: an address of this host, and the port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Address {
    /// From `unix:PATH`, `tcp:ADDRESS:PORT` or `ADDRESS:PORT`. Without an address it is this host
    /// alone (127.0.0.1).
    ///
    /// # Errors
    /// It is none of them; the text says which there are.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                false => Ok(Address::Unix(path.into())),
                true => Err("unix: needs the path of a socket".to_owned()),
            };
        }
        let wrong = || format!("`{text}` is not unix:PATH, tcp:ADDRESS:PORT or ADDRESS:PORT");
        let (host, port) =
            text.strip_prefix("tcp:").unwrap_or(text).rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Address::Tcp(if host.is_empty() { "127.0.0.1" } else { host }.to_owned(), port))
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// The host refuses it: the address is in use, say.
    pub fn listen(&self) -> io::Result<Listener> {
        let wrap = |error: io::Error| io::Error::new(error.kind(), format!("{self}: {error}"));
        match self {
            Address::Tcp(host, port) => {
                let listener = TcpListener::bind((host.as_str(), *port)).map_err(wrap)?;
                Ok(Listener::Tcp(high(listener)))
            }
            Address::Unix(path) => {
                // What a process that is no more has left behind is in nobody's use.
                let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
                if UnixStream::connect(path).is_err_and(refused) {
                    std::fs::remove_file(path).map_err(wrap)?;
                }
                let listener = UnixListener::bind(path).map_err(wrap)?;
                Ok(Listener::Unix(high(listener)))
            }
        }
    }

    /// Removes what listening has left in the file system.
    pub fn clean(&self) {
        if let Address::Unix(path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that is listened on.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

impl Listener {
    /// Waits for somebody to connect.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Answers are short, and waited for.
                let _ = stream.set_nodelay(true);
                Stream::Tcp(high(stream))
            }
            Listener::Unix(listener) => Stream::Unix(high(listener.accept()?.0)),
        })
    }
}

/// A descriptor of this number or above is not what a program expects of the next one it opens.
const HIGH: i32 = 800;

/// The same with a high descriptor, if the host permits: the low ones are the guest process's.
fn high<F: From<OwnedFd> + Into<OwnedFd>>(file: F) -> F {
    let file: OwnedFd = file.into();
    F::from(rustix::io::fcntl_dupfd_cloexec(&file, HIGH).unwrap_or(file))
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// In the file system.
    Unix(UnixStream),
}

impl Stream {
    /// Another handle of the connection.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(high(stream.try_clone()?)),
            Stream::Unix(stream) => Stream::Unix(high(stream.try_clone()?)),
        })
    }

    /// Ends the connection for all its handles.
    pub fn close(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_elsewhere() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.to_owned(), port));
        assert_eq!(Address::parse("tcp::1234"), tcp("127.0.0.1", 1234));
        assert_eq!(Address::parse(":1234"), tcp("127.0.0.1", 1234));
        assert_eq!(Address::parse("0.0.0.0:80"), tcp("0.0.0.0", 80));
        assert_eq!(Address::parse("tcp:[::1]:80"), tcp("::1", 80));
        assert_eq!(Address::parse("unix:a b:1"), Ok(Address::Unix("a b:1".into())));
        for wrong in ["", "1234", "unix:", "tcp:1234", "localhost:", ":70000"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_socket_in_use_is_refused_and_a_stale_one_is_not() {
        let path = std::env::temp_dir().join(format!("mynah-address-{}", std::process::id()));
        let address = Address::Unix(path.clone());
        let listener = address.listen().expect("it is free");
        assert!(address.listen().is_err());
        // As if its process had been killed.
        drop(listener);
        assert!(path.exists());
        drop(address.listen().expect("nobody listens there"));
        address.clean();
        assert!(!path.exists());
    }
}
