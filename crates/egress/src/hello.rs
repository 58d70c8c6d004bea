//! The first message of a TLS client: whom it says that it wants to speak to.
//!
//! A tunnel is allowed for a host, and what goes through it cannot be read. The name in the hello is what the other end
//! will choose its certificate by, so it has to be the host's; a hello that hides the name (ECH) is refused, for behind
//! it any other site of the same address could be meant.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest hello: post-quantum key shares make some 2 KiB, tickets some more.
const HELLO_BYTES_MAX: usize = 32 << 10;

/// One record (RFC 8446, section 5.1).
const RECORD_BYTES_MAX: usize = 16 << 10;

/// Extensions: the server's name (RFC 6066), the hidden hello (RFC 9849).
const SERVER_NAME: u16 = 0;
const ENCRYPTED_HELLO: u16 = 0xfe0d;

/// What a hello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server's name, as it stands there.
    pub name: Option<String>,
}

/// Why a hello is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHello {
    /// It is something else.
    #[error("it does not speak TLS")]
    NotTls,
    /// It is longer than any.
    #[error("its TLS hello is too long")]
    TooLong,
    /// It hides whom it speaks to.
    #[error("its TLS hello hides the server's name (ECH)")]
    Hidden,
    /// It ended.
    #[error("it ended before it had said whom it wants to speak to")]
    Ended,
}

/// Reads a hello, and gives it with all bytes that were read: they are still to be passed on.
///
/// # Errors
/// [`BadHello`].
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Hello, Vec<u8>), BadHello> {
    let mut bytes = Vec::new();
    loop {
        if let Some(hello) = parse(&bytes)? {
            return Ok((hello, bytes));
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Err(BadHello::Ended),
            Ok(_) => {}
        }
    }
}

/// The hello at the start of what a client has sent; `None`: it is not all there yet.
///
/// # Errors
/// [`BadHello`].
pub fn parse(bytes: &[u8]) -> Result<Option<Hello>, BadHello> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if let Some(body) = whole(&message)? {
            return hello(body).ok_or(BadHello::NotTls)?.map(Some);
        }
        // A handshake record of any version 3.x.
        let header = match rest {
            [] | [0x16] | [0x16, 3] | [0x16, 3, _] | [0x16, 3, _, _] => return Ok(None),
            [0x16, 3, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(BadHello::NotTls),
        };
        if header == 0 || header > RECORD_BYTES_MAX {
            return Err(BadHello::NotTls);
        }
        let Some(content) = rest.get(5..5 + header) else { return Ok(None) };
        message.extend_from_slice(content);
        rest = &rest[5 + header..];
        if message.len() > HELLO_BYTES_MAX {
            return Err(BadHello::TooLong);
        }
    }
}

/// The body of the handshake message, once it is whole.
fn whole(message: &[u8]) -> Result<Option<&[u8]>, BadHello> {
    let [kind, a, b, c, ..] = message else { return Ok(None) };
    if *kind != 1 {
        return Err(BadHello::NotTls);
    }
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if length > HELLO_BYTES_MAX {
        return Err(BadHello::TooLong);
    }
    Ok(message.get(4..4 + length))
}

/// Takes pieces off the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|piece| u16::from_be_bytes([piece[0], piece[1]]))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::from(length))
    }
}

/// `None`: it is none.
fn hello(body: &[u8]) -> Option<Result<Hello, BadHello>> {
    let mut cursor = Cursor(body);
    // Version, random, session, cipher suites, compression (RFC 8446, section 4.1.2).
    cursor.take(2 + 32)?;
    cursor.short()?;
    cursor.long()?;
    cursor.short()?;
    let mut name = None;
    if cursor.0.is_empty() {
        return Some(Ok(Hello { name }));
    }
    let mut extensions = Cursor(cursor.long()?);
    if !cursor.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.long()?;
        match kind {
            // Two would be read differently by two readers.
            SERVER_NAME if name.is_some() => return None,
            SERVER_NAME => name = Some(server_name(content)?),
            ENCRYPTED_HELLO => return Some(Err(BadHello::Hidden)),
            _ => {}
        }
    }
    Some(Ok(Hello { name }))
}

/// The one name of the list.
fn server_name(content: &[u8]) -> Option<String> {
    let mut cursor = Cursor(content);
    let mut list = Cursor(cursor.long()?);
    let kind = list.take(1)?[0];
    let name = list.long()?;
    let alone = cursor.0.is_empty() && list.0.is_empty() && kind == 0;
    String::from_utf8(name.to_vec()).ok().filter(|_| alone)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A hello with these extensions, as one record.
    pub(crate) fn made(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let long = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let list: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &long(content)].concat())
            .collect();
        let body = [&[3, 3][..], &[7; 32], &[0], &long(&[0x13, 0x01]), &[1, 0], &long(&list)].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        [&[0x16, 3, 1][..], &long(&message)].concat()
    }

    pub(crate) fn named(name: &str) -> (u16, Vec<u8>) {
        let long = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        (SERVER_NAME, long(&[&[0][..], &long(name.as_bytes())].concat()))
    }

    #[test]
    fn a_hello_says_a_name_however_it_is_cut() {
        let whole = made(&[(10, vec![1, 2]), named("a.example")]);
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "{end}");
        }
        let hello = Hello { name: Some("a.example".into()) };
        assert_eq!(parse(&whole), Ok(Some(hello.clone())));
        // In records of nine bytes.
        let cut: Vec<u8> = whole[5..]
            .chunks(9)
            .flat_map(|piece| [&[0x16, 3, 1, 0, u8::try_from(piece.len()).unwrap()][..], piece].concat())
            .collect();
        assert_eq!(parse(&cut), Ok(Some(hello)));
        assert_eq!(parse(&made(&[])), Ok(Some(Hello { name: None })));
    }

    #[test]
    fn what_is_no_plain_hello_is_refused() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(BadHello::NotTls));
        assert_eq!(parse(b"SSH-2.0-x\r\n"), Err(BadHello::NotTls));
        assert_eq!(parse(&made(&[named("a.example"), named("b.example")])), Err(BadHello::NotTls));
        assert_eq!(parse(&made(&[named("a.example"), (ENCRYPTED_HELLO, vec![0])])), Err(BadHello::Hidden));
        assert_eq!(parse(&[0x16, 3, 1, 0, 4, 1, 1, 0, 0]), Err(BadHello::TooLong));
        assert_eq!(parse(&[0x16, 3, 1, 0, 4, 2, 0, 0, 0]), Err(BadHello::NotTls));
        let mut two = made(&[named("a.example")]);
        let at = two.len() - 9 - 3;
        two[at] = 1;
        assert_eq!(parse(&two), Err(BadHello::NotTls));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        let whole = made(&[(10, vec![1, 2]), named("a.example")]);
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                let _ = parse(&bent);
            }
        }
    }
}
