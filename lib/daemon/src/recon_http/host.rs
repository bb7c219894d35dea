//! Facts of the kernel about the machine; missing ones are omitted.

use serde_json::{Map, Value, json};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// `/proc/meminfo`: name to text, such as `"MemTotal": "16338520 kB"`.
pub(super) fn memory() -> Value {
    let text = read("/proc/meminfo");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let entries = lines.map(|(name, value)| (name.to_owned(), json!(value.trim())));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// `/proc/loadavg`.
pub(super) fn load() -> Value {
    parse_load(&read("/proc/loadavg"))
}

fn parse_load(text: &str) -> Value {
    let mut words = text.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<f64>().ok());
    let (one, five, fifteen) = (number(), number(), number());
    let tasks = words.next();
    let processes = words.next().and_then(|word| word.parse::<u64>().ok());
    json!({ "1m": one, "5m": five, "15m": fifteen, "tasks": tasks, "processes": processes })
}

/// All file systems of `/proc/mounts`.
pub(super) fn mounted() -> Value {
    let text = read("/proc/mounts");
    let mounts = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(json!({ "device": words.next()?, "path": words.next()? }))
    });
    Value::Array(mounts.collect())
}

/// TCP sockets, and the bytes that the kernel holds for them.
pub(super) fn sockets() -> Value {
    let page = rustix::param::page_size();
    parse_sockets(&read("/proc/net/sockstat"), &read("/proc/net/sockstat6"), page)
}

fn parse_sockets(four: &str, six: &str, page: usize) -> Value {
    let mut found = Map::new();
    // `TCP: inuse 27 orphan 0 tw 3 alloc 31 mem 4`
    let value = |text: &str, line: &str, name: &str| -> Option<u64> {
        let words = text.lines().find_map(|found| found.strip_prefix(line))?.split_whitespace();
        let words: Vec<&str> = words.collect();
        let pair = words.chunks_exact(2).find(|pair| pair.first() == Some(&name))?;
        pair.last()?.parse().ok()
    };
    for (key, name) in [("tcp_in_use", "inuse"), ("orphan", "orphan"), ("time_wait", "tw")] {
        if let Some(value) = value(four, "TCP: ", name) {
            found.insert(key.to_owned(), json!(value));
        }
    }
    if let Some(pages) = value(four, "TCP: ", "mem") {
        let bytes = pages.saturating_mul(page as u64);
        found.insert("tcp_mem_allocated_bytes".to_owned(), json!(bytes));
    }
    if let Some(value) = value(six, "TCP6: ", "inuse") {
        found.insert("tcp6_in_use".to_owned(), json!(value));
    }
    Value::Object(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_returned_in_swifts_form() {
        assert_eq!(
            parse_load("0.03 0.02 0.00 1/220 16306\n"),
            json!({"1m": 0.03, "5m": 0.02, "15m": 0.0, "tasks": "1/220", "processes": 16306})
        );
        let four = "sockets: used 271\nTCP: inuse 30 orphan 1 tw 2 alloc 31 mem 5\nUDP: inuse 16\n";
        assert_eq!(
            parse_sockets(four, "TCP6: inuse 7\n", 4096),
            json!({"tcp_in_use": 30, "orphan": 1, "time_wait": 2,
                   "tcp_mem_allocated_bytes": 20480, "tcp6_in_use": 7})
        );
        assert_eq!(parse_sockets("", "", 4096), json!({}));
        assert!(memory()["MemTotal"].as_str().unwrap().ends_with(" kB"));
        assert!(mounted().as_array().unwrap().iter().any(|mount| mount["path"] == "/"));
    }
}
