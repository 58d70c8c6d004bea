//! Files of the host, and of the machine that the sandbox shows.

use super::{Probe, refused, sh};

pub(super) fn probes() -> Vec<Probe> {
    vec![
        refused("files_shadow", "cat /etc/shadow"),
        refused("files_ssh_keys", "cat /root/.ssh/* /home/*/.ssh/*"),
        sh("files_passwords_of_tools", "cat /etc/maven/settings*.xml 2>/dev/null; echo .", "."),
        sh("files_homes", "ls -A /root; ls /home", "agent"),
        sh(
            "files_places_of_the_host",
            "ls -A /mnt /srv /media /opt/../srv 2>/dev/null | grep -v ':$' | tr -d '\\n'; echo .",
            ".",
        ),
        refused(
            "files_engine_sockets",
            "ls /var/run/docker.sock /run/docker.sock /run/podman /run/containerd /run/dbus /run/systemd",
        ),
        refused("files_write_usr", "touch /usr/probe"),
        refused("files_write_bin", "touch /bin/probe"),
        refused("files_write_lib", "touch /lib/probe"),
        refused("files_replace_a_program", "cp /usr/bin/true /usr/bin/sh"),
        refused("files_remove_a_program", "rm -f /usr/bin/true"),
        refused("files_rename_usr", "mv /usr /usr2"),
        refused("files_remount_usr", "mount -o remount,rw /usr"),
        refused("files_bind", "mount --bind / /mnt"),
        refused("files_tmpfs", "mount -t tmpfs none /mnt"),
        refused("files_overlay", "mount -t overlay overlay -o lowerdir=/usr,upperdir=/tmp,workdir=/tmp /mnt"),
        refused("files_unmount_proc", "umount -l /proc"),
        refused("files_hard_link_to_a_program", "ln /usr/bin/id ."),
        sh(
            "files_above_the_root",
            "cd / && cd ../../../.. && [ \"$(stat -c %d:%i .)\" = \"$(stat -c %d:%i /)\" ] && pwd",
            "/",
        ),
        sh(
            "files_own_root_is_the_root",
            "[ \"$(stat -Lc %d:%i /proc/self/root)\" = \"$(stat -c %d:%i /)\" ] && echo same",
            "same",
        ),
        sh(
            "files_names_of_layers",
            "grep -oE '(lower|upper|work)dir=[^, ]*' /proc/self/mountinfo | grep -cE '=/(home|root|var|tmp)'; true",
            "0",
        ),
        sh(
            "files_whose_owner_is_outside",
            "find / -xdev \\( -path /proc -o -path /usr -o -path /etc \\) -prune -o -user 65534 -perm -o+w -type f -print 2>/dev/null | head -3; echo .",
            ".",
        ),
        sh(
            "files_links_out_lead_inside",
            "ln -s /etc/shadow a; ln -s ../../../../../root/.ssh b; cat a b/* 2>/dev/null; echo .",
            ".",
        ),
        refused(
            "files_lasting_over_a_rename",
            "mkdir d && cd d && mv ../d /d2 && ls ../../../../root/.bashrc",
        ),
        refused("files_swap", "dd if=/dev/zero of=s bs=4096 count=10 && mkswap s >/dev/null && swapon s"),
    ]
}
