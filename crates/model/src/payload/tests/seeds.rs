//! The four samples of alerts that are published (seed 003), to the byte: types, the order of
//! keys, sentences.

use super::*;

/// An event as it is handed over, and the sample that is published. Signatures are another
/// matter.
const SAMPLES: [(&str, &str); 4] = [
    (
        r#"{"id":"927156bd-0000-0000-0000-38100897278d","account":"demo",
            "timestamp":"2022-08-25T16:00:00.04368716Z",
            "ip_listed":{"ip":"49.0.2.000","blocklist":"Barracuda"}}"#,
        r#"{"signature":{"timestamp":1661445572,"token":"b912851220af04be63e2feacebeafc7844f813847d309631ec"},"event_data":{"id":"927156bd-0000-0000-0000-38100897278d","timestamp":"2022-08-25T16:00:00.04368716Z","log_level":"warn","event":"ip_listed","ip":"49.0.2.000","blocklist":"Barracuda","message":"IP 49.0.2.000 was blocklisted by Barracuda"}}"#,
    ),
    (
        r#"{"id":"f8b2cb0d-0000-0000-0000-a846ded58d3d","account":"demo",
            "timestamp":"2022-08-25T17:00:00.04368716Z",
            "ip_delisted":{"ip":"49.0.2.000","blocklist":"Barracuda"}}"#,
        r#"{"signature":{"timestamp":1661445573,"token":"429caef899af60b9c412af6161428e7a41a669f6e5a30cb5f3"},"event_data":{"id":"f8b2cb0d-0000-0000-0000-a846ded58d3d","timestamp":"2022-08-25T17:00:00.04368716Z","log_level":"warn","event":"ip_delisted","ip":"49.0.2.000","blocklist":"Barracuda","message":"IP 49.0.2.000 was removed by Barracuda"}}"#,
    ),
    (
        r#"{"id":"fa2613d9-a795-4e40-8f7c-bdb6bafbfc76","account":"demo",
            "validation_preview":{"bulk_validation_job":{"created_at":1667592049,"list_id":"LIST 34",
            "quantity":100,"status":"uploaded","summary":{
            "result":{"deliverable":77,"undeliverable":1,"catch_all":15,"unknown":6},
            "risk":{"high":1,"low":77,"medium":15,"unknown":6}}}}}"#,
        r#"{"signature":{"timestamp":1667592054,"token":"7582ab415b3542100d55388a085cc54f677e9acc4f1f944333"},"event_data":{"id":"fa2613d9-a795-4e40-8f7c-bdb6bafbfc76","bulk_validation_job":{"created_at":1667592049,"list_id":"LIST 34","quantity":100,"status":"uploaded","summary":{"result":{"deliverable":77,"undeliverable":1,"catch_all":15,"unknown":6},"risk":{"high":1,"low":77,"medium":15,"unknown":6}}},"message":"Preview job fa2613d9-a795-4e40-8f7c-bdb6bafbfc76 is complete"}}"#,
    ),
    (
        r#"{"id":"fa2613d9-a795-4e40-8f7c-bdb6bafbfc76","account":"demo",
            "validation_job":{"bulk_validation_job":{"created_at":1667592117,"list_id":"LIST 62",
            "quantity":100,"processed":100,"status":"uploaded","summary":{
            "result":{"deliverable":82,"undeliverable":1,"catch_all":13,"unknown":4},
            "risk":{"high":1,"low":82,"medium":13,"unknown":4}},
            "download_urls":{"csv":"https://storage.googleapis.com/...csv.zip",
            "json":"https://storage.googleapis.com/...json.zip"}}}}"#,
        r#"{"signature":{"timestamp":1667592181,"token":"6212180f809f15a8b4a4bc46ca64f7778619683455679c0035"},"event_data":{"id":"fa2613d9-a795-4e40-8f7c-bdb6bafbfc76","bulk_validation_job":{"created_at":1667592117,"download_urls":{"csv":"https://storage.googleapis.com/...csv.zip","json":"https://storage.googleapis.com/...json.zip"},"list_id":"LIST 62","quantity":100,"processed":100,"status":"uploaded","summary":{"result":{"deliverable":82,"undeliverable":1,"catch_all":13,"unknown":4},"risk":{"high":1,"low":82,"medium":13,"unknown":4}}},"message":"Validation job fa2613d9-a795-4e40-8f7c-bdb6bafbfc76 is complete"}}"#,
    ),
];

#[test]
fn the_published_samples_of_alerts_come_out_to_the_byte() {
    for (event, published) in SAMPLES {
        let read: Value = serde_json::from_str(published).expect("the sample is JSON");
        let signature = &read["signature"];
        let timestamp = signature["timestamp"].as_u64().expect("seconds");
        let token = signature["token"].as_str().expect("a token");
        let body = alert_body(&stored(event), timestamp, token).expect("an alert");
        assert_eq!(String::from_utf8(body).expect("text"), published);
    }
}
