//! What a document says of a route.

use std::collections::BTreeSet;
use std::fmt;

use reqwest::Method;
use serde_json::Value;

/// One method of one path.
pub(crate) struct Operation<'a> {
    pub method: Method,
    template: &'a str,
    described: &'a Value,
}

/// All operations of a document, in its order. Each has a name of its own, from which programs make the names of functions.
pub(crate) fn all(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    let mut names = BTreeSet::new();
    for (template, methods) in paths {
        for (method, described) in methods.as_object().expect("methods") {
            let name = described["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "two operations are called {name}");
            let method = method.to_uppercase().parse().expect("a method");
            operations.push(Operation { method, template, described });
        }
    }
    operations
}

impl Operation<'_> {
    /// With all variables replaced.
    pub fn path(&self, value: &str) -> String {
        let replace = |path: String, name: &str| path.replace(&format!("{{{name}}}"), value);
        let path = self.parameters("path").into_iter().fold(self.template.to_owned(), replace);
        assert!(!path.contains('{'), "a variable of {path} is not described");
        path
    }

    pub fn has_variables(&self) -> bool {
        self.template.contains('{')
    }

    /// The names of those in the path, or in the query.
    pub fn parameters(&self, place: &str) -> Vec<&str> {
        let all = self.described["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let there = all.iter().filter(|parameter| parameter["in"] == place);
        there.map(|parameter| parameter["name"].as_str().expect("a name")).collect()
    }

    pub fn takes_json(&self) -> bool {
        self.described["requestBody"]["content"].get("application/json").is_some()
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}
