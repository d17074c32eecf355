use super::*;

fn answer(text: &str) -> std::io::Result<(u16, String)> {
    read_answer(&mut BufReader::new(text.as_bytes()))
}

#[test]
fn chunked_answer_is_joined() {
    let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    assert_eq!(answer(text).unwrap(), (200, "abcde".to_owned()));
}

#[test]
fn short_body_is_an_error_and_not_a_short_answer() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    assert_eq!(
        answer(text).unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
}

#[test]
fn prefixes_are_index_names_and_never_repeat() {
    let es = RealElasticsearch::at("http://127.0.0.1:1").unwrap();
    let (a, b) = (es.prefix("Outage::A_b"), es.prefix("Outage::A_b"));
    assert_ne!(a, b);
    assert!(
        a.starts_with("outage--a-b-") && a.bytes().all(|c| c == b'-' || c.is_ascii_alphanumeric()),
        "{a}"
    );
}

#[test]
fn url_without_port_or_with_path_is_refused() {
    for url in [
        "https://127.0.0.1:9200",
        "http://127.0.0.1",
        "http://127.0.0.1:9200/x",
        "",
    ] {
        assert!(RealElasticsearch::at(url).is_err(), "{url}");
    }
}

#[test]
fn e2e_real_server_indexes_searches_blocks_and_deletes() {
    let es = RealElasticsearch::shared();
    let prefix = es.prefix("stack");
    let index = format!("{prefix}-one");
    assert_eq!(
        (es.count(&index), es.search_all(&index).len()),
        (0, 0),
        "a missing index is empty"
    );

    // 10 001 documents need a second page.
    let mut bulk = String::new();
    for n in 0..=PAGE_SIZE {
        bulk.push_str(&format!(
            "{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{n}\"}}}}\n{{\"n\":{n}}}\n"
        ));
    }
    let (status, body) = es.post("/_bulk", &bulk);
    assert!(
        status == 200 && body.contains("\"errors\":false"),
        "{status} {}",
        &body[..body.len().min(500)]
    );
    es.refresh(&index);
    assert_eq!(es.count(&format!("{prefix}*")), PAGE_SIZE as u64 + 1);
    let hits = es.search_all(&index);
    let seen: std::collections::BTreeSet<u64> = hits
        .iter()
        .filter_map(|hit| hit["_source"]["n"].as_u64())
        .collect();
    assert_eq!((hits.len(), seen.len()), (PAGE_SIZE + 1, PAGE_SIZE + 1));
    assert!(
        hits.iter()
            .all(|hit| hit["_index"] == index.as_str() && hit["_id"].is_string())
    );

    es.block_write(&index, true);
    let one = format!("{{\"create\":{{\"_index\":\"{index}\"}}}}\n{{\"n\":0}}\n");
    assert!(es.post("/_bulk", &one).1.contains("cluster_block_exception"));
    es.block_write(&index, false);
    assert!(es.post("/_bulk", &one).1.contains("\"errors\":false"));

    es.delete_index(&format!("{prefix}*"));
    assert_eq!(es.get(&format!("/{index}")).0, 404);
}

/// Red when `RealServer` loses settings, name or data of a server on the way.
#[test]
fn e2e_a_server_of_its_own_keeps_settings_and_data_over_pause_kill_and_restart() {
    let server = RealServer::start(Kind::OpenSearch2, &["http.max_content_length=64kb"]).unwrap();
    assert_eq!(
        RealElasticsearch::at(&server.url()).unwrap().kind(),
        server.kind()
    );
    let create = |id: u8, pad: usize| {
        let pad = "x".repeat(pad);
        let bulk = format!("{{\"create\":{{\"_index\":\"i\",\"_id\":\"{id}\"}}}}\n{{\"pad\":\"{pad}\"}}\n");
        server.post("/_bulk?refresh=true", &bulk).0
    };
    assert_eq!((create(1, 10), create(2, 70_000)), (200, 413));
    server.pause();
    server.resume();
    assert_eq!(server.count("i"), 1);
    server.kill();
    server.restart();
    server.refresh("i");
    assert_eq!((server.count("i"), create(3, 70_000)), (1, 413));
    let url = server.url();
    drop(server);
    assert!(TcpStream::connect(url.trim_start_matches("http://")).is_err());
}
