//! Floods. Each is stopped by a limit of its own sandbox, which then goes on.

use super::{Probe, perl, sh};

pub(super) fn probes() -> Vec<Probe> {
    vec![
        sh(
            "resources_fork_bomb",
            "timeout -s KILL 2 sh -c 'f() { f | f & }; f; wait' >/dev/null 2>&1; echo over",
            "over",
        ),
        perl(
            "resources_threads_of_processes",
            "my $n = 0; while ($n < 1000) { my $p = fork; last unless defined $p; if (!$p) { sleep 20; exit } $n++ } print $n < 64 ? 'bounded' : $n;",
            "bounded",
        ),
        sh(
            "resources_memory",
            "(head -c 2000000000 /dev/zero | tail -c 1900000000 | wc -c) 2>/dev/null | grep -c 1900000000; true",
            "0",
        ),
        sh(
            "resources_shared_memory",
            "head -c 1000000000 /dev/zero > /dev/shm/f 2>/dev/null && echo whole || echo bounded",
            "bounded",
        ),
        sh(
            "resources_temporary_files",
            "head -c 1000000000 /dev/zero > /tmp/f 2>/dev/null && echo whole || echo bounded",
            "bounded",
        ),
        perl(
            "resources_descriptors",
            "my @held; while (@held < 2000000) { open my $f, '<', '/dev/null' or last; push @held, $f } print @held < 2000000 ? 'bounded' : 'endless';",
            "bounded",
        ),
        sh(
            "resources_locks_in_memory",
            "ulimit -l unlimited 2>/dev/null && echo unlimited || echo bounded",
            "bounded",
        ),
        sh("resources_real_time", "chrt -f 50 true 2>/dev/null && echo real time || echo refused", "refused"),
        sh("resources_niceness", "nice -n -10 sh -c 'nice' 2>/dev/null", "0"),
        sh("resources_output", "timeout -s KILL 1 yes | head -c 3000000 | wc -c", "3000000"),
        perl(
            "resources_pipes",
            "my @p; while (@p < 100000) { pipe(my $r, my $w) or last; push @p, $r, $w } print @p < 100000 ? 'bounded' : 'endless';",
            "bounded",
        ),
        perl(
            "resources_message_queues",
            "my $n = 0; while ($n < 100000) { defined msgget(0, 0600 | 512) or last; $n++ } print $n < 100000 ? 'bounded' : 'endless';",
            "bounded",
        ),
    ]
}
