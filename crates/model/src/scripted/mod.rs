//! A scripted model: an HTTP endpoint on this machine that plays answers from a file in any of the three wire formats.
//!
//! It is the demo's model, the tests' model and the evil model of the security tests, and it goes the whole way that a
//! real one goes: TCP, HTTP, server-sent events, our own client. It is a small world, not a list of replies: it checks
//! requests as strictly as the vendors' servers do (an output needs its call, a call its output, sealed reasoning comes
//! back unchanged) and answers 400 with a sentence where they would.
//!
//! # The file
//!
//! ```toml
//! wire = "responses"            # which client is opened: responses (default), chat, messages
//! context_window = 128000       # also output_max, edit_tool, images, price: the model's facts
//! # log = "requests.jsonl"      # every request is appended there, relative to the script's folder
//!
//! [[turn]]                      # one answer; turns are played in order
//! expect = "Fix the off-by-one" # text, or list of texts, that the request must hold, else 400
//! reasoning = "Look first."
//! text = "I look at the file."
//! calls = [{ tool = "exec_command", arguments = { cmd = "cat page.py" } }]
//! faults = [{ kind = "cut", at = "text" }, { kind = "status", status = 429, retry_after = "1" }]
//!
//! [[turn]]
//! when = "1 failed"             # an alternative: only if the newest input holds this
//! calls = [{ tool = "apply_patch", input = "*** Begin Patch\n…" }]
//!
//! [[turn]]                      # the alternative without `when` closes the step
//! text = "Done."
//! usage = { input = 1200, cached = 1000, output = 5 }
//!
//! [[aside]]                     # not in the order: whenever the newest input holds `when`
//! when = "Summarise the work"
//! text = "So far: looked."
//! ```
//!
//! Which step is played follows from the request alone: it is the number of answers that the request holds already. So
//! one endpoint serves any number of conversations at once, and a new endpoint goes on where a killed one stopped. The
//! text of an aside ends with a marker, `[scripted: 3]`, from which counting goes on when a compaction has put a
//! summary in place of the answers. Only faults have a memory: the first try of a request gets the first fault, its
//! repetition the second, then the answer comes whole. `docs/scripted-model.md` has all fields.

mod endpoint;
mod fault;
mod log;
mod read;
mod render;
mod script;
mod seal;

pub use endpoint::Endpoint;
pub use fault::{Fault, Place};
pub use log::Logged;
pub use script::{Arguments, Call, Figures, Script, Texts, Turn};
