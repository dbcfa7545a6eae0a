//! [`Network`]: hosts that are network namespaces of this machine, each with an address, a loop-back interface and ports of its
//! own, on one bridge, which find one another by name. It takes root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::run;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Network {
    /// The namespace that has the bridge, and what those of the hosts begin with. No other test has it.
    pub name: String,
    hosts: Vec<String>,
}

impl Network {
    pub fn new(hosts: &[&str]) -> Network {
        let name = format!("varve{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Network { name, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
        let bridge = &network.name;
        ip(&format!("netns add {bridge}"));
        ip(&format!("-n {bridge} link add bridge type bridge"));
        ip(&format!("-n {bridge} link set bridge up"));
        let address = |number: usize| format!("10.77.0.{}", number + 1);
        let known = hosts.iter().enumerate().map(|(number, host)| format!("{} {host}\n", address(number)));
        let known: String = std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(known).collect();
        for (number, host) in hosts.iter().enumerate() {
            let own = network.namespace(host);
            ip(&format!("netns add {own}"));
            ip(&format!("-n {bridge} link add port{number} type veth peer name eth0 netns {own}"));
            ip(&format!("-n {bridge} link set port{number} master bridge up"));
            ip(&format!("-n {own} address add {}/24 dev eth0", address(number)));
            ip(&format!("-n {own} link set lo up"));
            ip(&format!("-n {own} link set eth0 up"));
            // `ip netns exec` puts what is there in the place of what /etc has.
            fs::create_dir_all(network.files(host)).expect("a directory");
            fs::write(network.files(host).join("hosts"), &known).expect("names");
        }
        network
    }

    /// Runs a script of the shell on a host, in a mount namespace of its own; its process is then what the script becomes.
    pub fn command(&self, host: &str, script: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), "sh", "-euc", script, "sh"]);
        command
    }

    /// All that runs on a host, as when its power fails.
    pub fn kill_all(&self, host: &str) {
        // Nor does anything run there if there is no `ip`; a panic here would end all other tests, too.
        let Ok(listed) = Command::new("ip").args(["netns", "pids", &self.namespace(host)]).output() else {
            return;
        };
        for pid in String::from_utf8_lossy(&listed.stdout).split_ascii_whitespace() {
            // One may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid.parse().expect("a process id")), Signal::SIGKILL);
        }
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    fn files(&self, host: &str) -> PathBuf {
        PathBuf::from("/etc/netns").join(self.namespace(host))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            self.kill_all(host);
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(host)]).status();
            let _ = fs::remove_dir_all(self.files(host));
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}
