//! [`Chromium`]: Debian's, without a window, told what to do over a pipe (the DevTools protocol: JSON, each message ended by a
//! zero byte). What it complains of on the way is kept.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Chromium {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Of the page's target.
    session: Option<String>,
    last_id: u64,
    events: VecDeque<Value>,
    complaints: Vec<String>,
    /// Whatever is asked for has to begin with it.
    base: String,
    _profile: TempDir,
}

#[derive(Clone, Copy)]
pub enum Scheme {
    Light,
    Dark,
}

impl Chromium {
    pub fn start(base: &str) -> Chromium {
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        // It reads from 3 and writes to 4.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", "chromium"]);
        command.args([
            "--headless",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ]);
        command.args([
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-background-networking",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (events, complaints) = (VecDeque::new(), Vec::new());
        let mut browser = Chromium {
            process,
            input,
            output,
            session: None,
            last_id: 0,
            events,
            complaints,
            base: base.to_owned(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser.set_width(1280);
        browser
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).expect("Chromium's output");
        assert_eq!(bytes.pop(), Some(0), "Chromium ended: `apt-get install chromium` installs it");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).expect("Chromium's input");
        loop {
            let mut answer = self.read();
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.note(answer);
        }
    }

    /// Keeps what a page has to complain of, and what it asks for elsewhere.
    fn note(&mut self, event: Value) {
        let parameters = &event["params"];
        let complaint = match event["method"].as_str().unwrap_or_default() {
            "Runtime.consoleAPICalled" => {
                ["error", "warning", "assert"].contains(&parameters["type"].as_str().unwrap_or_default())
            }
            "Runtime.exceptionThrown" => true,
            // Of this code is that a script, and nobody's hand, has sent a form: what this test does.
            "Audits.issueAdded" => parameters["issue"]["code"] != "GenericIssue",
            "Log.entryAdded" => {
                ["error", "warning"].contains(&parameters["entry"]["level"].as_str().unwrap_or_default())
            }
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with(&self.base) && url != "about:blank"
            }
            _ => false,
        };
        if complaint {
            self.complaints.push(event.to_string());
        }
        self.events.push_back(event);
    }

    fn wait_for(&mut self, method: &str) {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => {
                    let event = self.read();
                    self.note(event);
                    continue;
                }
            };
            if event["method"] == method {
                return;
            }
        }
    }

    /// Loads a page, to its end.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        let answer = self.call("Page.navigate", &json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait_for("Page.loadEventFired");
    }

    /// Does what leads to another page, and waits for that.
    pub fn send(&mut self, script: &str) {
        self.events.clear();
        self.evaluate(script);
        self.wait_for("Page.loadEventFired");
    }

    /// The value of an expression; of a promise, what it comes to.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{:.200}: {}", script, answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    pub fn set_scheme(&mut self, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", &features);
    }

    pub fn set_width(&mut self, width: u32) {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// The whole page as a PNG.
    pub fn screenshot(&mut self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let mut decoder = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(path).expect("a file"))
            .spawn()
            .expect("base64 runs");
        let text = answer["data"].as_str().expect("a picture");
        decoder.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
        assert!(decoder.wait().expect("its end").success());
    }

    /// There must be complaints, of this alone.
    pub fn expect_complaint(&mut self, of: &str) {
        let all = std::mem::take(&mut self.complaints);
        assert!(!all.is_empty() && all.iter().all(|complaint| complaint.contains(of)), "{}", all.join("\n"));
    }

    /// Neither the console nor Content-Security-Policy had anything to complain of, and nothing was asked for elsewhere.
    pub fn nothing_is_wrong(&mut self) {
        self.call("Page.getFrameTree", &json!({}));
        assert!(self.complaints.is_empty(), "{}", self.complaints.join("\n"));
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
