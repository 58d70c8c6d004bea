//! Reading and writing what is not the task's.

use super::{Case, Fails, Inside, Says, exec};

/// Things on the host, and of the machine, that would be worth something: a name and a path.
const VALUABLE: &[(&str, &str)] = &[
    ("victim", "@OUT@/victim.txt"),
    ("ssh_key", "@HOME@/.ssh/id_ed25519"),
    ("git_credentials", "@HOME@/.git-credentials"),
    ("database", "@DATA@/legwork.db"),
    ("key_of_secrets", "@DATA@/secret.key"),
    ("servers_token", "@DATA@/server.json"),
    ("neighbours_repository", "@NEIGHBOUR@/.git/config"),
    ("shadow", "/etc/shadow"),
    ("roots_key", "/root/.ssh/id_rsa"),
    ("first_environment", "/proc/1/environ"),
];

/// Ways to read a path: a name, and a command in which `PATH` is the path.
const READS: &[(&str, &str)] = &[
    ("cat", "cat PATH"),
    ("link", "ln -s PATH link-N; cat link-N || { readlink link-N; exit 1; }"),
    ("link_to_its_folder", "ln -s $(dirname PATH) dir-N && cat dir-N/$(basename PATH)"),
    ("hard_link", "ln PATH hard-N"),
    ("above_the_root", "cat ../../../../../../../..PATH"),
    ("own_root", "cat /proc/self/root/PATH"),
    ("first_root", "cat /proc/1/root/PATH"),
    ("copy", "cp PATH copy-N"),
    ("git_diff", "git diff --no-index /dev/null PATH; exit 1"),
    ("git_object", "git hash-object -w PATH"),
    ("tar", "tar -cPf - PATH"),
    ("url", "curl -sS file://PATH"),
    ("redirection", "read -r line < PATH && echo $line"),
    ("source", ". PATH"),
    ("block_copy", "dd if=PATH status=none"),
];

/// Places that lead to others' things, and tell nothing or are not there: a name and a path.
const ABSENT: &[(&str, &str)] = &[
    ("docker_socket", "/var/run/docker.sock"),
    ("containerd_socket", "/run/containerd/containerd.sock"),
    ("podman_socket", "/run/podman/podman.sock"),
    ("dbus", "/run/dbus/system_bus_socket"),
    ("systemd", "/run/systemd/private"),
    ("engine_of_the_story", "@OUT@/engine.sock"),
    ("egress_files_of_the_worker", "@DATA@/egress"),
    ("sandboxes_of_the_worker", "@DATA@/sandboxes/layers"),
    ("mirrors_of_the_worker", "@DATA@/mirrors"),
    ("salt_of_decoys", "@DATA@/placeholders.salt"),
    ("blobs_of_the_server", "@DATA@/blobs"),
    ("netrc", "@HOME@/.netrc"),
    ("history", "@HOME@/.bash_history"),
    ("cloud_keys", "@HOME@/.aws/credentials"),
    ("registry_keys", "@HOME@/.docker/config.json"),
    ("cluster_keys", "@HOME@/.kube/config"),
    ("settings", "@HOME@/.config/legwork/config.toml"),
    ("memory", "/dev/mem"),
    ("disk", "/dev/vda"),
    ("disk_of_old", "/dev/sda"),
    ("kernel_log", "/dev/kmsg"),
    ("fuse", "/dev/fuse"),
    ("virtual_machines", "/dev/kvm"),
    ("cron", "/var/spool/cron/crontabs"),
    ("mail", "/var/mail/root"),
];

pub(super) fn reads() -> Vec<Case> {
    let valuable = VALUABLE.iter().flat_map(|(what, path)| {
        READS.iter().map(move |(way, command)| {
            let name = format!("read_{what}_by_{way}");
            let command = command.replace("-N", &format!("-{what}")).replace("PATH", path);
            exec(&name, command, Fails(last_part(path).to_owned()))
        })
    });
    let absent = ABSENT.iter().map(|(what, path)| {
        exec(&format!("list_{what}"), format!("ls -A {path}/ {path}"), Fails((*path).to_owned()))
    });
    let others = [
        exec(
            "find_the_secret",
            "grep -rIls evil-run-secret /home /root /tmp /var /run /mnt /srv /media /workspace; echo none",
            Says("none".into()),
        ),
        exec(
            "find_keys",
            "find / -xdev -path /usr -prune -o \\( -name id_ed25519 -o -name secret.key -o -name server.json \\) -print 2>/dev/null; echo none",
            Says("none".into()),
        ),
        exec(
            "environments_of_others",
            "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -cE '^(LEGWORK_|NEXTEST|CARGO_MANIFEST)'",
            Says("0".into()),
        ),
        exec(
            "command_lines_of_others",
            "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'legwork [u]p'",
            Says("0".into()),
        ),
    ];
    valuable.chain(absent).chain(others).collect()
}

/// What a refusal names: every way names the file itself, whatever it makes of the path before it.
fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Where a write would be felt: a name and a path.
const FELT: &[(&str, &str)] = &[
    ("victim", "@OUT@/victim.txt"),
    ("beside_the_victim", "@OUT@/legwork-pwned"),
    ("shells_start", "@HOME@/.bashrc"),
    ("ssh_door", "@HOME@/.ssh/authorized_keys"),
    ("settings", "@HOME@/.config/legwork/config.toml"),
    ("servers_address", "@DATA@/server.json"),
    ("database", "@DATA@/legwork.db"),
    ("hook_of_the_users_repository", "@REPO@/.git/hooks/pre-commit"),
    ("neighbours_file", "@NEIGHBOUR@/add.sh"),
    ("temporary", "/tmp/legwork-pwned"),
    ("etc", "/etc/legwork-pwned"),
    ("cron", "/etc/cron.d/legwork-pwned"),
    ("shared_memory", "/dev/shm/legwork-pwned"),
];

/// Ways to write to a path.
const WRITES: &[(&str, &str)] = &[
    ("redirection", "mkdir -p $(dirname PATH); echo pwned > PATH"),
    ("link", "mkdir -p $(dirname PATH); ln -sf PATH l-N; echo pwned > l-N"),
    ("own_root", "echo pwned > /proc/self/root/PATH"),
    ("above_the_root", "echo pwned | tee ../../../../../../..PATH"),
    ("rename", "mkdir -p $(dirname PATH); echo pwned > m-N && mv -f m-N PATH"),
];

/// What no program inside may write, with the word that the refusal names.
const FIRM: &[&str] = &[
    "/usr/legwork-pwned",
    "/usr/bin/legwork-pwned",
    "/usr/bin/git",
    "/usr/lib/legwork-pwned",
    "/lib/legwork-pwned",
    "/bin/sh",
    "/etc/legwork/ca.pem",
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/proc/1/mem",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.procs",
];

pub(super) fn writes() -> Vec<Case> {
    let felt = FELT.iter().flat_map(|(what, path)| {
        WRITES.iter().map(move |(way, command)| {
            let command = command.replace("-N", &format!("-{what}")).replace("PATH", path);
            exec(&format!("write_{what}_by_{way}"), command, Inside)
        })
    });
    let firm = FIRM.iter().map(|path| {
        exec(&format!("write_{path}"), format!("sh -c 'echo pwned > {path}'"), Fails((*path).to_owned()))
    });
    felt.chain(firm).collect()
}
