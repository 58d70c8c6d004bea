//! What a hostile guest may send, and what a guest may be sent, for fuzzing.

use std::fmt::Debug;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request, decode, encode};

/// Frames of the guest's: each that is taken is read again as it was, and none is longer than its bound.
pub fn replies(bytes: &[u8]) {
    frames::<Reply>(bytes, REPLY_BYTES_MAX);
}

/// Frames of the host's.
pub fn requests(bytes: &[u8]) {
    frames::<Request>(bytes, REQUEST_BYTES_MAX);
}

fn frames<M: Serialize + DeserializeOwned + Debug>(bytes: &[u8], bytes_max: usize) {
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(message)) = decode::<M>(&mut buffer, bytes_max) {
        let mut again = Vec::new();
        // A number may come in more bytes than it needs, so the same in its shortest form always fits.
        assert!(encode(&message, bytes_max, &mut again).is_ok());
        let read = decode::<M>(&mut BytesMut::from(again.as_slice()), bytes_max);
        assert_eq!(format!("{:?}", read.ok().flatten()), format!("{:?}", Some(message)));
    }
}
