package io.fraudctl.flink;

import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Instant;
import java.time.format.*;
import java.util.*;
import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.api.common.typeinfo.*;
import org.apache.flink.configuration.*;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.*;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.*;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.*;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The properties and the wiring: two topics in, detections and dead letters out. */
public final class Main {
  private static final String MANAGED = "/etc/flink/application_properties.json"; // where Managed Flink puts them
  private static final DateTimeFormatter ISO = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();
  private static final int BUFFER_MS = 10; // how long a record waits for others on its way to another task
  // Larger fetches and requests spare CPU, a fifth of all at 20,000 records a second. Kafka's own 500 hold up a backlog.
  // An aborted transaction never happened, and nobody knows yet what an open one will be: by default Kafka gives both.
  private static final Map<String, String> CONSUMER = Map.of("isolation.level", "read_committed",
      "max.poll.records", "100000", "fetch.min.bytes", "65536", "fetch.max.wait.ms", "30");
  private static final Map<String, String> PRODUCER =
      Map.of("linger.ms", "5", "max.request.size", "2097152"); // as the output topics: the largest input always fits

  /** Takes `key=value` arguments, or a file of property groups; without arguments Managed Flink's own file. */
  public static void main(String[] arguments) throws Exception {
    Map<String, String> found = new HashMap<>();
    if (arguments.length == 0) readGroup(MANAGED, found);
    else if (!arguments[0].contains("=")) readGroup(arguments[0], found);
    else for (String pair : arguments) found.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
    ParameterTool properties = ParameterTool.fromMap(found);
    var env = StreamExecutionEnvironment.getExecutionEnvironment(Configuration.fromMap(below("flink.", properties)));
    wire(env, properties);
    boolean exit = properties.getBoolean("exit.when.done", false); // threads of a local cluster outlive the job
    if (exit) Thread.setDefaultUncaughtExceptionHandler((thread, e) -> { e.printStackTrace(); System.exit(1); });
    env.execute("fraud-detection");
    // A job that somebody else stopped ended by mistake: after another code than 0 the supervisor starts it again.
    if (exit) System.exit(Files.exists(Path.of(properties.get("stopped.marker", ""))) ? 0 : 1);
  }

  static void wire(StreamExecutionEnvironment env, ParameterTool properties) {
    env.configure(Configuration.fromMap(Map.of("pipeline.object-reuse", "true", "pipeline.generic-types", "false",
        "pipeline.auto-watermark-interval", "100ms"))); // half of Flink's: the clock is known sooner after a start
    String processed = properties.getRequired("topic.processed"), dead = properties.getRequired("topic.dead_letters");
    String input = properties.getRequired("topic.transactions"), flagged = properties.getRequired("topic.flagged");
    var transactions = read("transactions", env, properties);
    var flags = read("flagged", env, properties);
    transactions.union(flags).keyBy(event -> event.account(), Types.LONG)
        .process(new Enrich(new Detection(properties.getLong("hold.ms"), properties.getLong("slack.ms"))), Event.TYPE)
        .uid("detection").name("detection")
        .sinkTo(sink(properties, (event, c, t) -> new ProducerRecord<>(processed, text(event.account()), event.value())))
        .uid("processed").name("processed");
    transactions.getSideOutput(Parse.DEAD).union(flags.getSideOutput(Parse.DEAD))
        .sinkTo(sink(properties, (event, c, t) -> letter(dead, event, event.kind() == Event.BAD_FLAG ? flagged : input)))
        .uid("dead-letters").name("dead-letters");
  }

  private static SingleOutputStreamOperator<Event> read(String alias, StreamExecutionEnvironment env,
      ParameterTool properties) {
    Properties consumer = client(CONSUMER, properties, "consumer.");
    var source = new CaughtUp<>(KafkaSource.<Event>builder().setTopics(properties.getRequired("topic." + alias))
        .setGroupId(properties.getRequired("group.id")).setClientIdPrefix(alias).setProperties(consumer)
        .setStartingOffsets(new Reader.Beginning()).setDeserializer(new Raw()).build(), consumer,
        new Reader.Options(properties.get("moves", ""), properties.get("unread.file", "")), properties.getLong("slack.ms"));
    return env.fromSource(source, source.watermarks(), alias, Event.TYPE).uid(alias)
        .process(new Parse(alias.equals("flagged"), properties), Event.TYPE).uid("parse-" + alias).name("parse-" + alias)
        .setBufferTimeout(BUFFER_MS);
  }

  /** Takes every record as it is, so that none can stop the source. */
  @SuppressWarnings("serial")
  private static final class Raw implements KafkaRecordDeserializationSchema<Event> {
    @Override public void deserialize(ConsumerRecord<byte[], byte[]> raw, Collector<Event> out) {
      out.collect(new Event(Event.RAW, 0, 0, raw.timestamp(), raw.partition(), raw.offset(), raw.topic(), raw.value(),
          raw.key(), raw.headers()));
    }

    @Override public TypeInformation<Event> getProducedType() { return Event.TYPE; }
  }

  private static KafkaSink<Event> sink(ParameterTool properties, KafkaRecordSerializationSchema<Event> records) {
    return KafkaSink.<Event>builder().setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE) // without: lost in an outage
        .setKafkaProducerConfig(client(PRODUCER, properties, "producer.")).setRecordSerializer(records).build();
  }

  /**
   * The record's bytes, key and headers, then ours. Where names are the same ours are the last, which is what a reader of one
   * value gets. The record's time is a header and not the letter's time: retention goes by that, and would delete at once
   * what comes from a topic that keeps its records for longer.
   */
  static ProducerRecord<byte[], byte[]> letter(String topic, Event event, String from) {
    var letter = new ProducerRecord<byte[], byte[]>(topic, null, null, event.key(), event.value(), event.headers());
    letter.headers().add("error", text(event.text())).add("topic", text(from))
        .add("partition", text(event.partition())).add("offset", text(event.offset()));
    if (event.published() >= 0) letter.headers().add("timestamp", text(ISO.format(Instant.ofEpochMilli(event.published()))));
    return letter;
  }

  private static byte[] text(Object value) { return value.toString().getBytes(StandardCharsets.UTF_8); }

  private static Properties client(Map<String, String> defaults, ParameterTool properties, String prefix) {
    Properties client = new Properties();
    client.putAll(defaults);
    client.put("bootstrap.servers", properties.getRequired("bootstrap.servers"));
    client.putAll(below("kafka.", properties));
    client.putAll(below(prefix, properties));
    return client;
  }

  static MetricGroup metrics(RuntimeContext context) {
    return context.getMetricGroup().addGroup("KinesisAnalytics"); // Managed Flink sends this group to CloudWatch
  }

  private static Map<String, String> below(String prefix, ParameterTool properties) {
    return new DelegatingConfiguration(properties.getConfiguration(), prefix).toMap();
  }

  private static void readGroup(String file, Map<String, String> into) throws java.io.IOException {
    for (JsonNode group : new ObjectMapper().readTree(Files.readAllBytes(Path.of(file)))) {
      if (!group.path("PropertyGroupId").asText().equals("fraudctl")) continue;
      group.path("PropertyMap").properties().forEach(entry -> into.put(entry.getKey(), entry.getValue().asText()));
    }
  }
}
