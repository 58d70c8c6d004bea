//! Engines that are not there, or are none.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use legwork_sandbox::{Backend as _, Error};

use crate::world::{options, spec};

async fn refusal(socket: std::path::PathBuf) -> Error {
    let state = tempfile::tempdir().unwrap();
    let backend = legwork_sandbox_docker::open(options(state.path(), socket)).unwrap();
    let error = backend.create(spec("refused")).await.err().unwrap();
    let left: Vec<_> = std::fs::read_dir(state.path().join("live")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    error
}

/// Answers every connection with the same bytes.
fn answering(answer: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Bytes that nobody has read would reset the connection before the answer is heard.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (place, path)
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_to_be_so_with_the_way_out() {
    let place = tempfile::tempdir().unwrap();
    let error = refusal(place.path().join("none")).await;
    let Error::Unavailable { what, mend } = &error else { panic!("{error}") };
    assert!(what.contains("No such file") && mend.contains("podman system service"), "{error}");
}

#[tokio::test]
async fn what_speaks_something_else_is_no_engine() {
    for answer in ["220 mail.example ESMTP\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"] {
        let (_place, socket) = answering(answer);
        let error = refusal(socket).await;
        assert!(matches!(error, Error::Unavailable { .. } | Error::Setup { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_named_with_its_version() {
    let (_place, socket) =
        answering("HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"ApiVersion\":\"1.24\"}");
    let error = refusal(socket).await;
    assert!(
        matches!(&error, Error::Unavailable { what, mend } if what.contains("1.40") && mend.contains("1.24")),
        "{error}"
    );
}
