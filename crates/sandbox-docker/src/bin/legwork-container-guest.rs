//! Nothing but the guest: what this room's tests start where production starts itself.

fn main() {
    legwork_sandbox::guest::run_if_guest();
    std::process::exit(2);
}
