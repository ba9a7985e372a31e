//! A Markdown table and an SVG bar chart of what was measured.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Outcome;

struct Row {
    name: String,
    place: String,
    threads: u64,
    rate: f64,
    slowest: f64,
    fastest: f64,
    by_cpu: f64,
}

/// `out` without its ending; `files` hold lines of JSON, and `facts=…` words say what the machine is.
pub fn run(out: &Path, files: &[&str]) -> Outcome {
    let mut lines = Vec::new();
    let mut facts = String::new();
    for file in files {
        if let Some(fact) = file.strip_prefix("facts=") {
            let _ = writeln!(facts, "- {fact}");
            continue;
        }
        for line in fs::read_to_string(file)?.lines() {
            lines.push(serde_json::from_str::<Value>(line)?);
        }
    }
    let rows: Vec<Row> = lines.iter().filter(|line| line["kind"] == "open").map(row).collect();
    let raw = |threads, figure: fn(&Row) -> f64| {
        let found = rows.iter().find(|row| row.place == "cache" && row.threads == threads);
        found.map_or(f64::NAN, figure)
    };
    let mut text = format!(
        "# Opening, measured\n\nMade by `examples/bench/open.sh`. GB/s are 10^9 bytes of plaintext a second of wall \
         time; medians of interleaved rounds. *huge* and *small* are tmpfs with huge pages and with pages of 4 KiB; \
         *anonymous* is memory of the process, with huge pages. Rivals open one of the model's files into *small*. \
         A CPU second is what a run took of the CPUs (a rival's with its start-up): a neighbour cannot take that away, so on a busy \
         machine its ratios hold better.\n\n\
         {facts}\n| what | into | threads | GB/s | slowest–fastest | × raw ring | GB a CPU second | × raw ring |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for row in &rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | **{:.2}** | {:.2}–{:.2} | {:.2} | {:.2} | {:.2} |",
            row.name,
            row.place,
            row.threads,
            row.rate,
            row.slowest,
            row.fastest,
            row.rate / raw(row.threads, |row| row.rate),
            row.by_cpu,
            row.by_cpu / raw(row.threads, |row| row.by_cpu)
        );
    }
    text.push_str("\n## Memory, sizes, many files\n\nEach line is a process of its own, one opening, all included.\n\n");
    text.push_str("| files | MiB | into | seconds | GB/s | peak beyond the opened bytes, MiB |\n|---|---|---|---|---|---|\n");
    for line in lines.iter().filter(|line| line["kind"] == "memory") {
        let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {:.2} | {:.2} | {:.1} |",
            line["files"],
            number("bytes") / f64::from(1 << 20),
            line["target"].as_str().unwrap_or("?"),
            number("seconds"),
            number("bytes") / number("seconds") / 1e9,
            number("beyond_mib")
        );
    }
    for line in lines.iter().filter(|line| line["kind"] == "sealing") {
        let rate = line["gb_per_second"].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(text, "\nSealing the model onto the disk ran at {rate:.2} GB/s.");
    }
    fs::write(out.with_extension("md"), text)?;
    fs::write(out.with_extension("svg"), chart(&rows))?;
    Ok(())
}

fn row(line: &Value) -> Row {
    let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
    let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
    Row {
        name: text("name"),
        place: text("place"),
        threads: line["threads"].as_u64().unwrap_or(0),
        rate: number("gb_per_second"),
        slowest: number("slowest"),
        fastest: number("fastest"),
        by_cpu: number("gb_per_cpu_second"),
    }
}

/// One bar a row, the longest the fastest.
fn chart(rows: &[Row]) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    let most = rows.first().map_or(1.0, |row| row.rate);
    let (label, width, step) = (370, 900, 24);
    let height = 40 + rows.len() * step;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\">\n<title>Opening a sealed model, GB/s</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"22\" font-weight=\"bold\">Opening a sealed model, GB/s (more is better)</text>\n"
    );
    for (number, row) in rows.iter().enumerate() {
        let y = 36 + number * step;
        let bar = (row.rate / most * f64::from(width - label - 70)).max(1.0);
        let colour = match row.name.as_str() {
            name if name.starts_with("adyton") => "#1b6ca8",
            name if name.starts_with("raw") || name.starts_with("copy") => "#9aa5b1",
            _ => "#c46a2b",
        };
        let threads = if row.threads == 2 { ", 2 threads" } else { "" };
        let name = format!("{} → {}{threads}", row.name, row.place);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"12\">{}</text>\
             <rect x=\"{label}\" y=\"{y}\" width=\"{bar:.0}\" height=\"16\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\">{:.2}</text>",
            label - 8,
            y + 13,
            name.replace('&', "&amp;").replace('<', "&lt;"),
            f64::from(label) + bar + 6.0,
            y + 13,
            row.rate
        );
    }
    svg.push_str("</svg>\n");
    svg
}
