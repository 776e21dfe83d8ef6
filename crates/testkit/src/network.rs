//! Networks that a test has for itself.

use std::process::Command;

/// An interface with addresses of IPv4 alone, and a way out over it that leads nowhere.
pub const ONLY_V4: &str = "ip link set lo up && ip link add out type veth peer name far && \
                           ip link set far up && ip addr add 10.9.9.1/24 dev out && \
                           ip link set out up && ip route add default via 10.9.9.2 && \
                           ip route add prohibit 10.8.0.0/16 && \
                           ip route add blackhole 10.7.0.0/16 && exec \"$0\" \"$@\"";
/// This machine alone.
pub const NO_WAY_OUT: &str = "ip link set lo up && exec \"$0\" \"$@\"";

/// Runs a test of this program that is ignored otherwise, by its full name, in a network of its
/// own: `network` is made by `sh`, which goes on with what it is given. Says so where that takes
/// more than this machine has.
///
/// # Panics
/// When the test fails, with what it printed.
pub fn run_in_a_network(network: &str, test: &str) {
    let run = |arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", network]).args(arguments);
        unshare.output()
    };
    if !run(&["true"]).is_ok_and(|output| output.status.success()) {
        println!("skipped: networks cannot be made here; it takes root, ip and unshare");
        return;
    }
    let this = std::env::current_exe().expect("this test");
    let this = this.to_str().expect("a path that is text");
    let output = run(&[this, "--exact", test, "--ignored", "--nocapture"]).expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}\n{said}");
    println!("{printed}");
}
