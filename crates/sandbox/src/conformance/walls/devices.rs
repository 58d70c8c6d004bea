//! Devices.

use super::{Probe, perl, refused, sh};

/// What a program may expect, and nothing that leads to a machine.
const ALLOWED: &str = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";

pub(super) fn probes() -> Vec<Probe> {
    vec![
        sh(
            "devices_are_the_harmless_ones",
            "ls /dev | grep -vxE 'console|core|mqueue' | tr '\\n' ' '",
            ALLOWED,
        ),
        refused("devices_make_memory", "mknod m c 1 1"),
        refused("devices_make_a_disk", "mknod d b 8 0"),
        refused("devices_make_a_tun", "mknod t c 10 200"),
        refused("devices_make_a_whiteout", "mknod w c 0 0"),
        refused("devices_make_in_dev", "mknod /dev/probe c 1 3"),
        refused("devices_fuse", "ls /dev/fuse"),
        refused("devices_kvm", "ls /dev/kvm"),
        refused("devices_loop", "ls /dev/loop-control"),
        refused("devices_memory", "ls /dev/mem /dev/kmem /dev/port"),
        refused("devices_log", "ls /dev/kmsg /dev/log"),
        refused("devices_consoles", "ls /dev/tty0 /dev/tty1 /dev/vcs"),
        refused("devices_snapshots", "ls /dev/snapshot /dev/cpu /dev/hwrng /dev/uinput"),
        perl(
            "devices_type_ahead",
            "use POSIX; $SIG{HUP} = q(IGNORE); open my $m, '+<', '/dev/ptmx' or die; my $b = pack('i', 0); ioctl($m, 0x40045431, $b); \
             my $n = pack('I', 0); ioctl($m, 0x80045430, $n); my $s = '/dev/pts/' . unpack('I', $n); \
             open my $t, '+<', $s or die \"$s: $!\"; my $c = 'x'; \
             print ioctl($t, 0x5412, $c) ? 'put' : 'refused', ' ', ioctl($t, 0x541C, $c) ? 'put' : 'refused';",
            "refused refused",
        ),
    ]
}
