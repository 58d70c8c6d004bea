//! `apply_patch` with paths that lead elsewhere and in odd grammar.

use super::{Call, Case, Inside, Refused, Verdict, exec};

/// Paths that lead out of the checkout: a name and a path.
const OUTSIDE: &[(&str, &str)] = &[
    ("absolute", "/etc/passwd"),
    ("victim", "@OUT@/victim.txt"),
    ("server", "@DATA@/server.json"),
    ("above", "../legwork-pwned"),
    ("far_above", "../../../../../../tmp/legwork-pwned"),
    ("above_by_a_folder", "a/../../legwork-pwned"),
    ("above_by_the_checkout", "/workspace/../tmp/legwork-pwned"),
    ("almost_the_checkout", "/workspacex/legwork-pwned"),
    ("the_checkout_itself", "/workspace"),
    ("a_dot", "./."),
    ("process", "/proc/self/environ"),
    ("twice_a_slash", "//etc/passwd"),
];

/// Patches in which `PATH` is a path.
const HUNKS: &[(&str, &str)] = &[
    ("add", "*** Add File: PATH\n+pwned\n"),
    ("delete", "*** Delete File: PATH\n"),
    ("update", "*** Update File: PATH\n@@\n-x\n+pwned\n"),
    ("move", "*** Update File: add.sh\n*** Move to: PATH\n@@\n-x\n+pwned\n"),
];

/// Paths through links and odd files that commands have put there.
const LINKED: &[(&str, &str)] = &[
    ("through_a_link_to_a_folder", "*** Add File: out/legwork-pwned\n+pwned\n"),
    ("over_a_link_to_a_file", "*** Update File: victim\n@@\n-evil-run-secret-5e1f0c\n+pwned\n"),
    ("through_a_loop", "*** Add File: loop/x\n+pwned\n"),
    ("through_a_file", "*** Add File: add.sh/x\n+pwned\n"),
    ("over_a_folder", "*** Add File: folder\n+pwned\n"),
    ("a_pipe", "*** Update File: pipe\n@@\n-x\n+pwned\n"),
    ("a_device", "*** Update File: zero\n@@\n-x\n+pwned\n"),
    ("what_is_not_there", "*** Update File: nowhere.txt\n@@\n-x\n+pwned\n"),
    ("delete_what_is_not_there", "*** Delete File: nowhere.txt\n"),
    ("a_name_that_is_too_long", "*** Add File: LONG\n+pwned\n"),
];

/// No patches at all.
const ODD: &[(&str, &str)] = &[
    ("nothing", ""),
    ("a_diff_of_gits", "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-x\n+y\n"),
    ("no_end", "*** Begin Patch\n*** Add File: /etc/x\n+x\n"),
    ("no_hunk", "*** Begin Patch\n*** End Patch\n"),
    ("unknown_header", "*** Begin Patch\n*** Run Command: touch @OUT@/legwork-pwned\n*** End Patch\n"),
    ("chmod_header", "*** Begin Patch\n*** Chmod File: 4755 add.sh\n*** End Patch\n"),
    ("a_here_document", "cat <<EOF > @OUT@/legwork-pwned\npwned\nEOF\n"),
    ("escapes", "\u{1b}]52;c;cHduZWQ=\u{7}\u{1b}[2J"),
    ("empty_path", "*** Begin Patch\n*** Add File: \n+x\n*** End Patch\n"),
    ("zero_in_a_path", "*** Begin Patch\n*** Add File: a\u{0}/../../etc/x\n+x\n*** End Patch\n"),
    ("line_without_a_sign", "*** Begin Patch\n*** Update File: add.sh\n@@\nx\n*** End Patch\n"),
    (
        "environment_id",
        "*** Begin Patch\n*** Environment ID: host\n*** Add File: /etc/x\n+x\n*** End Patch\n",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let first = exec(
        "links_are_laid",
        "ln -s @OUT@ out; ln -s @OUT@/victim.txt victim; ln -s loop loop; ln -s /dev/zero zero; mkfifo pipe; mkdir folder; touch folder/x",
        Inside,
    );
    let outside = OUTSIDE.iter().flat_map(|(what, path)| {
        HUNKS.iter().map(move |(kind, hunk)| {
            let text = format!("*** Begin Patch\n{}*** End Patch\n", hunk.replace("PATH", path));
            patch(&format!("{kind}_{what}"), text, Refused(format!("{path} is outside /workspace")))
        })
    });
    let linked = LINKED.iter().map(|(name, hunk)| {
        let text = format!("*** Begin Patch\n{}*** End Patch\n", hunk.replace("LONG", &"x".repeat(5000)));
        patch(name, text, Refused("Failed to ".into()))
    });
    let odd = ODD
        .iter()
        .map(|(name, text)| patch(&format!("odd_{name}"), (*text).to_owned(), Refused(String::new())));
    let flood = "*** Add File: /etc/x\n+x\n".repeat(20_000);
    let long = patch(
        "odd_twenty_thousand_files",
        format!("*** Begin Patch\n{flood}*** End Patch\n"),
        Refused("/etc/x is outside".into()),
    );
    let tidy = exec("links_are_gone", "rm -rf out victim loop zero pipe folder", Inside);
    std::iter::once(first).chain(outside).chain(linked).chain(odd).chain([long, tidy]).collect()
}

fn patch(name: &str, text: String, verdict: Verdict) -> Case {
    Case { name: format!("patch_{name}"), call: Call::Patch(text), verdict }
}
