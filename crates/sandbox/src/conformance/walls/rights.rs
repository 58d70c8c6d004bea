//! Rights that a program could win.

use super::{Probe, perl, refused, sh};

pub(super) fn probes() -> Vec<Probe> {
    vec![
        sh(
            "rights_capabilities",
            "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):' /proc/self/status | cut -f2 | sort -u",
            "0000000000000000",
        ),
        sh("rights_no_new_ones", "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        sh("rights_filter", "grep Seccomp: /proc/self/status | cut -f2", "2"),
        sh("rights_user", "id -u", "1000"),
        sh("rights_own_set_user_id", "cp $(command -v id) i && chmod 6755 i && ./i -u", "1000"),
        sh(
            "rights_set_user_id_programs",
            "for p in su sudo newgrp passwd chsh newuidmap; do q=$(command -v $p) && [ -u $q ] && \
             timeout 2 $q </dev/null 2>/dev/null >&2 && echo $p; done; echo none",
            "none",
        ),
        refused("rights_file_capability", "cp $(command -v id) j && setcap cap_sys_admin+ep j"),
        refused("rights_give_to_root", "touch k && chown 0:0 k"),
        refused("rights_of_a_security_label", "touch l && setfattr -n security.capability -v 0x01 l"),
        refused("rights_trusted_attribute", "touch m && setfattr -n trusted.overlay.opaque -v y m"),
        perl("rights_become_root", "$< = 0; $> = 0; print \"$<,$>\";", "1000,1000"),
        perl("rights_become_a_group", "$) = '0 0'; print((split ' ', $))[0]);", "1000"),
        sh(
            "rights_raise_limits",
            "ulimit -Hn 999999999 2>/dev/null && echo raised || echo refused",
            "refused",
        ),
        sh(
            "rights_open_descriptors",
            "for f in /proc/self/fd/*; do echo ${f##*/}; done | tr '\\n' ' '",
            "0 1 2 3",
        ),
        sh(
            "rights_inherited_variables",
            "env | cut -d= -f1 | grep -vxE 'PATH|HOME|PWD|OLDPWD|SHLVL|_|USER|LOGNAME|SHELL|LANG|TERM|TMPDIR|LC_ALL|HOSTNAME'; echo none",
            "none",
        ),
        sh("rights_keys", "cat /proc/keys 2>/dev/null | wc -l", "0"),
    ]
}
