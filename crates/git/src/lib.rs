//! Which git commands to run and what their output means. Sans-IO: it starts nothing and reads no file.
//!
//! Git is a large program that obeys configuration, attributes, hooks and links it finds in a repository, and all of
//! these may be hostile here. So the room draws one line: **on the host git touches only bare mirrors that we made
//! ourselves** ([`mirror`]), and everything with a foreign repository or a work tree runs inside a clean sandbox, as one
//! of the shell [`Script`]s of this room. A local repository's refs are read as plain data ([`refs`], [`local`]), which
//! is also why a warm start needs no git process at all. The one exception is the user's own repository on the user's
//! own word ([`own`]: `--apply`, `--branch`), with everything that git can be told to ignore ignored.

pub mod checkout;
mod error;
mod invocation;
pub mod local;
pub mod mirror;
pub mod own;
pub mod patch;
pub mod refs;
mod repository;

pub use error::Error;
pub use invocation::{Invocation, Script};
pub use mirror::Route;
pub use repository::{Protocol, Repository, Url};
