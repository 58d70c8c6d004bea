//! What a hostile registry may send, for fuzzing.

use crate::archive;
use crate::manifest::{Config, Manifest};

/// A layer: what its headers say is bounded, whatever its contents.
pub fn layer(bytes: &[u8]) {
    let mut entries = 0;
    let read = archive::each(bytes, |entry, content| {
        entries += 1;
        assert!(entry.path.len() <= bytes.len(), "a name is in the archive");
        let mut read = 0;
        let mut chunk = [0; 512];
        while let count @ 1.. = content.read(&mut chunk)? {
            read += count as u64;
        }
        assert!(read <= entry.size, "no more than its header says");
        Ok(())
    });
    assert!(read.is_err() || entries <= bytes.len() / 512, "each entry has a header");
}

/// A manifest or a configuration.
pub fn manifest(bytes: &[u8]) {
    if let Ok(Manifest::Image { layers, .. }) = Manifest::read(bytes) {
        assert!(layers.len() <= bytes.len());
    }
    for layers in 0..3 {
        if let Ok(config) = Config::read(bytes, layers) {
            assert_eq!(config.layers.len(), layers);
        }
    }
}
