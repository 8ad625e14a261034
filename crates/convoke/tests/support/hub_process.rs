//! A hub that is a process of its own: killed and started again on its port and its folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke::{Error, Hub, HubOptions, Membership, Node, NodeOptions, Subscription, Token};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::PATIENCE;
use super::disk::{ImageDisk, TrickyDisk};
use super::process::{Process, given, say};

/// Runs a hub at `LISTEN` in the folder `DATA`, with at most `FILES` open, none of them longer than `FILE_BYTES`, with
/// beats of `BEAT_MS`, at most `LINKS` links, and `JOIN_MS` to join, until it is killed. Says where it listens; and why, when
/// it can go on no more.
pub async fn hub() {
    if let Ok(files) = std::env::var("FILES") {
        let files = Some(files.parse().unwrap());
        setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).unwrap();
    }
    if let Ok(bytes) = std::env::var("FILE_BYTES") {
        let limit = Rlimit { current: Some(bytes.parse().unwrap()), maximum: None };
        setrlimit(Resource::Fsize, limit).unwrap();
    }
    let mut options = HubOptions { data: Some(given("DATA").into()), ..HubOptions::listen([given("LISTEN")]) };
    if let Ok(beat) = std::env::var("BEAT_MS") {
        let beat = Duration::from_millis(beat.parse().unwrap());
        options.membership = Membership { beat, beat_attentive: beat, ..Membership::default() };
    }
    if let Ok(links) = std::env::var("LINKS") {
        options.links_max = links.parse().unwrap();
    }
    if let Ok(time) = std::env::var("JOIN_MS") {
        options.join_time = Duration::from_millis(time.parse().unwrap());
    }
    let hub = loop {
        match Hub::start(options.clone()).await {
            // Whoever dials out may have got the port for a moment.
            Err(Error::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            hub => break hub.unwrap(),
        }
    };
    say(&hub.addresses()[0].to_string());
    let why = hub.failed().await;
    say(why.code.word());
    std::future::pending().await
}

/// A hub that is a process, and what is needed to join it.
pub struct HubProcess {
    pub process: Process,
    pub address: String,
    pub folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl HubProcess {
    pub async fn start(variables: &[(&'static str, &str)]) -> HubProcess {
        HubProcess::start_at("127.0.0.1:0", variables).await
    }

    /// Starts it with its folder on this disk.
    pub async fn start_on(disk: &TrickyDisk) -> HubProcess {
        let (data, variables) = (disk.data().display().to_string(), disk.variables());
        let mut all = vec![("DATA", data.as_str())];
        all.extend(variables.iter().map(|(name, value)| (*name, value.as_str())));
        HubProcess::start(&all).await
    }

    /// Starts it on a Unix socket.
    pub async fn start_on_a_socket(variables: &[(&'static str, &str)]) -> HubProcess {
        HubProcess::start_at("", variables).await
    }

    async fn start_at(listen: &str, variables: &[(&'static str, &str)]) -> HubProcess {
        let folder = tempfile::tempdir().unwrap();
        let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if variables.iter().all(|(name, _)| *name != "DATA") {
            variables.push(("DATA", folder.path().join("data").display().to_string()));
        }
        let socket = format!("unix://{}", folder.path().join("hub.sock").display());
        let listen = if listen.is_empty() { &socket } else { listen };
        let (process, address) = HubProcess::run(&folder, &variables, listen).await;
        HubProcess { process, address, folder, variables }
    }

    async fn run(folder: &tempfile::TempDir, variables: &[(&str, String)], listen: &str) -> (Process, String) {
        let mut all: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.push(("LISTEN", listen));
        let mut process = Process::start("hub", folder.path(), &all);
        let address = process.says().await;
        (process, address)
    }

    /// Kills it and starts it again at the same address.
    pub async fn kill_and_restart(self) -> HubProcess {
        self.restart_after(|| {}).await
    }

    /// Kills it and starts it again at the same address, after this has been done.
    pub async fn restart_after(self, meanwhile: impl FnOnce()) -> HubProcess {
        let HubProcess { process, address, folder, variables } = self;
        process.kill().await;
        meanwhile();
        let (process, again) = HubProcess::run(&folder, &variables, &address).await;
        assert_eq!(again, address);
        HubProcess { process, address, folder, variables }
    }

    /// Stops it in the middle of its work, and starts it again at the same address on what the image of its disk had then.
    pub async fn restart_on_copy(self, disk: &mut ImageDisk) -> HubProcess {
        self.process.stop().await;
        disk.copy();
        self.restart_after(|| disk.take_copy()).await
    }

    pub fn token(&self) -> PathBuf {
        let data = self.variables.iter().find(|(name, _)| *name == "DATA").expect("it was given one");
        Path::new(&data.1).join("admin.token")
    }

    /// What a process of this story needs to join: see [`node_of_a_process`].
    pub fn join(&self, name: &str) -> Vec<(&'static str, String)> {
        let token = self.token().display().to_string();
        vec![("HUB", self.address.clone()), ("TOKEN", token), ("NODE", name.to_owned())]
    }

    /// Starts a process in a role that joins under this name.
    pub fn start_process(&self, role: &str, name: &str, variables: &[(&'static str, &str)]) -> Process {
        let join = self.join(name);
        let mut all: Vec<(&str, &str)> = join.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend_from_slice(variables);
        Process::start(role, self.folder.path(), &all)
    }

    pub fn options(&self, name: &str) -> NodeOptions {
        self.options_with(Token::read(self.token()).unwrap(), name)
    }

    pub fn options_with(&self, token: Token, name: &str) -> NodeOptions {
        NodeOptions { token: Some(token), timeout: PATIENCE, ..NodeOptions::new(name) }
    }

    pub async fn node(&self, name: &str) -> Node {
        Node::connect_with(&self.address, self.options(name)).await.unwrap()
    }

    pub async fn subscribers(&self, count: usize) -> (Vec<Node>, Vec<Subscription>) {
        let (mut nodes, mut subscriptions) = (Vec::new(), Vec::new());
        for n in 0..count {
            let node = self.node(&format!("node-{n}")).await;
            subscriptions.push(node.subscribe("#").await.unwrap());
            nodes.push(node);
        }
        (nodes, subscriptions)
    }
}

/// In a process that [`HubProcess::start_process`] has started: its node.
pub async fn node_of_a_process() -> Node {
    let token = Some(Token::read(given("TOKEN")).unwrap());
    let options = NodeOptions { token, timeout: PATIENCE, ..NodeOptions::new(given("NODE")) };
    Node::connect_with(given("HUB"), options).await.unwrap()
}
