package io.fraudctl.flink;

import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.api.common.typeinfo.*;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.sink.*;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.*;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The properties and the wiring: two topics in, detections and dead letters out. */
public final class Main {
  private static final String MANAGED = "/etc/flink/application_properties.json"; // where Managed Flink puts them
  private static final int BUFFER_MS = 10; // how long a record waits for others on its way to another task
  // Larger fetches and requests spare CPU, a fifth of all at 20,000 records a second. Kafka's own 500 hold up a backlog.
  private static final Map<String, String> CONSUMER =
      Map.of("max.poll.records", "100000", "fetch.min.bytes", "65536", "fetch.max.wait.ms", "30");
  private static final Map<String, String> PRODUCER =
      Map.of("linger.ms", "5", "max.request.size", "2097152"); // as the output topics: the largest input always fits

  /** Takes `key=value` arguments, or a file of property groups; without arguments Managed Flink's own file. */
  public static void main(String[] arguments) throws Exception {
    boolean file = arguments.length == 0 || !arguments[0].contains("=");
    Map<String, String> properties = file ? group(arguments.length == 0 ? MANAGED : arguments[0]) : new HashMap<>();
    if (!file) for (String pair : arguments) properties.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
    var env = StreamExecutionEnvironment.getExecutionEnvironment(Configuration.fromMap(below("flink.", properties)));
    wire(env, properties);
    boolean exit = Boolean.parseBoolean(properties.get("exit.when.done")); // threads of a local cluster outlive the job
    try {
      env.execute("fraud-detection");
      if (exit) System.exit(0);
    } catch (Exception e) {
      if (!exit) throw e;
      e.printStackTrace();
      System.exit(1);
    }
  }

  static void wire(StreamExecutionEnvironment env, Map<String, String> properties) {
    env.configure(Configuration.fromMap(Map.of("pipeline.object-reuse", "true", "pipeline.generic-types", "false")));
    long hold = Long.parseLong(properties.getOrDefault("hold.ms", "60000"));
    long slack = Long.parseLong(properties.getOrDefault("slack.ms", "5000"));
    String processed = properties.getOrDefault("topic.processed", "processed_topic");
    String dead = properties.getOrDefault("topic.dead_letters", "dead_letters");
    String good = properties.getOrDefault("topic.transactions", "demo_transactions");
    String flagged = properties.getOrDefault("topic.flagged", "flagged_accounts");
    var transactions = read(env, properties, "transactions", good, slack);
    var flags = read(env, properties, "flagged", flagged, slack);
    transactions.union(flags).keyBy(event -> event.account(), Types.LONG)
        .process(new Enrich(new Detection(hold, slack)), Event.TYPE).uid("detection").name("detection")
        .sinkTo(sink(properties, (event, c, t) -> new ProducerRecord<>(processed, text(event.account()), event.value())))
        .uid("processed").name("processed");
    transactions.getSideOutput(Parse.DEAD).union(flags.getSideOutput(Parse.DEAD))
        .sinkTo(sink(properties, (event, c, t) -> letter(dead, event, event.kind() == Event.BAD_FLAG ? flagged : good)))
        .uid("dead-letters").name("dead-letters");
  }

  private static SingleOutputStreamOperator<Event> read(StreamExecutionEnvironment env, Map<String, String> properties,
      String alias, String topic, long slack) {
    Properties consumer = client(CONSUMER, properties, "consumer.");
    var source = new CaughtUp<>(KafkaSource.<Event>builder().setTopics(topic)
        .setGroupId(properties.getOrDefault("group.id", "fraud-detection")).setClientIdPrefix(alias).setProperties(consumer)
        .setStartingOffsets(OffsetsInitializer.earliest()).setDeserializer(new Raw()).build(), consumer, slack);
    return env.fromSource(source, source.watermarks(), alias, Event.TYPE).uid(alias)
        .process(new Parse(alias.equals("flagged"), properties), Event.TYPE).uid("parse-" + alias).name("parse-" + alias)
        .setBufferTimeout(BUFFER_MS);
  }

  /** Takes every record as it is, so that none can stop the source. */
  @SuppressWarnings("serial")
  private static final class Raw implements KafkaRecordDeserializationSchema<Event> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> raw, Collector<Event> out) {
      out.collect(new Event(Event.RAW, 0, 0, raw.timestamp(), raw.partition(), raw.offset(), "", raw.value(), raw.key()));
    }

    @Override public TypeInformation<Event> getProducedType() { return Event.TYPE; }
  }

  private static KafkaSink<Event> sink(Map<String, String> properties, KafkaRecordSerializationSchema<Event> records) {
    return KafkaSink.<Event>builder().setBootstrapServers(need(properties, "bootstrap.servers")) // at least once
        .setKafkaProducerConfig(client(PRODUCER, properties, "producer.")).setRecordSerializer(records).build();
  }

  private static ProducerRecord<byte[], byte[]> letter(String topic, Event event, String from) {
    ProducerRecord<byte[], byte[]> letter = new ProducerRecord<>(topic, event.key(), event.value());
    letter.headers().add("error", text(event.text())).add("topic", text(from))
        .add("partition", text(event.partition())).add("offset", text(event.offset()));
    return letter;
  }

  private static byte[] text(Object value) { return value.toString().getBytes(StandardCharsets.UTF_8); }

  private static Properties client(Map<String, String> defaults, Map<String, String> properties, String prefix) {
    Properties client = new Properties();
    client.putAll(defaults);
    client.put("bootstrap.servers", need(properties, "bootstrap.servers"));
    client.putAll(below("kafka.", properties));
    client.putAll(below(prefix, properties));
    return client;
  }

  static MetricGroup metrics(RuntimeContext context) {
    return context.getMetricGroup().addGroup("KinesisAnalytics"); // Managed Flink sends this group to CloudWatch
  }

  static String need(Map<String, String> properties, String key) {
    if (!properties.containsKey(key)) throw new IllegalArgumentException("the property " + key + " is missing");
    return properties.get(key);
  }

  private static Map<String, String> below(String prefix, Map<String, String> properties) {
    Map<String, String> found = new HashMap<>();
    properties.forEach((key, value) -> { if (key.startsWith(prefix)) found.put(key.substring(prefix.length()), value); });
    return found;
  }

  private static Map<String, String> group(String file) throws java.io.IOException {
    Map<String, String> found = new HashMap<>();
    for (JsonNode group : new ObjectMapper().readTree(Files.readAllBytes(Path.of(file)))) {
      if (!group.path("PropertyGroupId").asText().equals("fraudctl")) continue;
      group.path("PropertyMap").properties().forEach(entry -> found.put(entry.getKey(), entry.getValue().asText()));
    }
    return found;
  }
}
