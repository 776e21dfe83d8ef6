//! The client behind a SOCKS5 proxy, on real sockets.

use std::time::Duration;

use bytes::Bytes;
use egress::{Answer, Client, EgressConfig, EgressProxy, FailureKind};
use testkit::proxy::{Manner, Proxy};
use testkit::zoo::{Certificate, Habit, NAME, Zoo};

/// A client that goes through this proxy and finds receivers at 127.0.0.1.
fn client(zoo: &Zoo, proxy: &str) -> Client {
    let config = EgressConfig {
        allow: vec!["127.0.0.1/32".parse().expect("a range")],
        connect_timeout: Duration::from_millis(800),
        total_timeout: Duration::from_secs(4),
        extra_ca_pem: zoo.authority_pem().into_bytes(),
        proxy: Some(EgressProxy::parse(proxy).expect("a proxy")),
        ..EgressConfig::default()
    };
    let look_up = |name: &str| {
        Ok(match name {
            NAME | "proxy.internal" => vec![[127, 0, 0, 1].into()],
            "inside.example" => vec![[10, 0, 0, 1].into()],
            "six.example" => vec![[0x2606, 0x4700, 0, 0, 0, 0, 0, 0x1111].into()],
            _ => vec![],
        })
    };
    Client::with_look_up(config, look_up).expect("a client")
}

#[track_caller]
fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Response { status, .. } => *status,
        Answer::Failed(failure) => panic!("{failure:?}"),
    }
}

#[track_caller]
fn kind(answer: &Answer) -> FailureKind {
    match answer {
        Answer::Failed(failure) => failure.kind,
        Answer::Response { .. } => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn requests_go_through_the_proxy_which_is_told_the_vetted_address() {
    let zoo = Zoo::default();
    let plain = zoo.admit(Habit::says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
    let secure = zoo.admit(Habit::Tls(Certificate::Good)).await;
    for manner in [Manner::LetsThrough, Manner::AsksWho("s3cret")] {
        let proxy = Proxy::start(manner).await;
        for host in ["127.0.0.1", "proxy.internal"] {
            let client =
                client(&zoo, &format!("socks5://ada:s3cret@{host}:{}", proxy.address().port()));
            for url in [plain.url_at(NAME), secure.url_at(NAME), plain.url()] {
                let attempt = client.post(&url, &[], Bytes::from_static(b"{}")).await;
                assert_eq!(status(&attempt.answer), 200, "{manner:?} {url}");
            }
        }
        let told = proxy.told();
        assert_eq!(told.len(), 6, "{manner:?}: a connection each");
        for (kind, address) in told {
            assert_eq!((kind, &address[..4]), (1, &[127, 0, 0, 1][..]), "{manner:?}");
        }
    }
}

#[tokio::test]
async fn what_is_forbidden_does_not_even_reach_the_proxy() {
    let zoo = Zoo::default();
    let proxy = Proxy::start(Manner::LetsThrough).await;
    let client = client(&zoo, &format!("socks5://proxy.internal:{}", proxy.address().port()));
    for url in ["http://inside.example/", "http://10.0.0.1/", "https://[::1]/", "http://127.0.0.2/"]
    {
        let named = if url.contains("inside") { FailureKind::Dns } else { FailureKind::Blocked };
        assert_eq!(kind(&client.get(url).await.answer), named, "{url}");
    }
    for url in ["http://proxy.internal/", "http://PROXY.internal.:8080/"] {
        assert_eq!(kind(&client.get(url).await.answer), FailureKind::InvalidUrl, "{url}");
        assert!(client.vet_url(url).is_err() && client.look_up(url).await.is_err(), "{url}");
    }
    // The library would spell it in a way that the proxy takes for a name.
    for url in ["http://six.example/", "http://[2606:4700::1111]/"] {
        assert_eq!(kind(&client.get(url).await.answer), FailureKind::Proxy, "{url}");
    }
    assert!(proxy.told().is_empty());
}

#[tokio::test]
async fn the_proxys_trouble_is_ours_and_the_receivers_is_theirs() {
    use FailureKind as K;
    let zoo = Zoo::default();
    for (manner, expected) in [
        (Manner::Answers(1), K::Proxy),
        (Manner::Answers(2), K::Blocked),
        (Manner::Answers(3), K::Connect),
        (Manner::Answers(4), K::Connect),
        (Manner::Answers(5), K::Connect),
        (Manner::Answers(6), K::Connect),
        (Manner::Answers(7), K::Proxy),
        (Manner::Answers(8), K::Proxy),
        (Manner::AsksWho("another"), K::Proxy),
        (Manner::HangsUp, K::Proxy),
        (Manner::NeverGreets, K::Proxy),
        (Manner::NeverConnects, K::ConnectTimeout),
    ] {
        let proxy = Proxy::start(manner).await;
        let client =
            client(&zoo, &format!("socks5://ada:s3cret@127.0.0.1:{}", proxy.address().port()));
        let answer = client.get(&format!("http://{NAME}:8080/")).await.answer;
        let Answer::Failed(failure) = &answer else { panic!("{manner:?}: {answer:?}") };
        assert_eq!(failure.kind, expected, "{manner:?}: {failure}");
        assert!(!failure.detail.contains("127.0.0.1"), "{failure}");
    }
    // Nobody listens there any more.
    let gone = Proxy::start(Manner::LetsThrough).await.address();
    let client = client(&zoo, &format!("socks5://127.0.0.1:{}", gone.port()));
    assert_eq!(kind(&client.get(&format!("http://{NAME}:8080/")).await.answer), K::Proxy);
}
