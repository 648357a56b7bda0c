package io.fraudctl.flink;

import java.lang.reflect.Proxy;
import java.util.List;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.runtime.metrics.groups.InternalSourceReaderMetricGroup;
import org.apache.flink.util.Collector;
import org.apache.flink.util.SimpleUserCodeClassLoader;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Asks {@link CaughtUp} for watermarks before any partition is assigned, as happens on a slow machine, then after, without a
 * broker. Prints how many watermarks there were.
 */
public final class ClockMain {
  private static int watermarks;

  public static void main(String[] arguments) throws Exception {
    Thread.setDefaultUncaughtExceptionHandler((thread, e) -> { e.printStackTrace(); System.exit(1); });
    Properties consumer = new Properties();
    consumer.put("bootstrap.servers", "127.0.0.1:1");
    CaughtUp<?> source = new CaughtUp<>(KafkaSource.<Event>builder().setTopics("t").setGroupId("g").setProperties(consumer)
        .setDeserializer(new Nothing()).build(), consumer, new Reader.Options("", ""), 5000);
    SourceReader<Event, KafkaPartitionSplit> reader = source.createReader(context());
    WatermarkGenerator<Event> all = source.watermarks().createWatermarkGenerator(null);
    for (int i = 0; i < 3; i++) all.onPeriodicEmit(new Output());
    reader.addSplits(List.of(new KafkaPartitionSplit(new TopicPartition("t", 0), 7)));
    WatermarkGenerator<Event> one = source.watermarks().createWatermarkGenerator(null);
    for (WatermarkGenerator<Event> each : List.of(one, all, one)) each.onPeriodicEmit(new Output());
    System.out.println(watermarks + " watermarks");
    System.exit(0);
  }

  private static SourceReaderContext context() {
    return (SourceReaderContext) Proxy.newProxyInstance(ClockMain.class.getClassLoader(),
        new Class<?>[] {SourceReaderContext.class}, (proxy, method, given) -> switch (method.getName()) {
          case "metricGroup" -> InternalSourceReaderMetricGroup.mock(new UnregisteredMetricsGroup());
          case "getConfiguration" -> new Configuration();
          case "getUserCodeClassLoader" -> SimpleUserCodeClassLoader.create(ClockMain.class.getClassLoader());
          case "getIndexOfSubtask", "currentParallelism" -> 1;
          default -> null;
        });
  }

  private static final class Output implements WatermarkOutput {
    @Override public void emitWatermark(Watermark watermark) { watermarks++; }
    @Override public void markIdle() {}
    @Override public void markActive() {}
  }

  @SuppressWarnings("serial")
  private static final class Nothing implements KafkaRecordDeserializationSchema<Event> {
    @Override public void deserialize(ConsumerRecord<byte[], byte[]> raw,
        Collector<Event> out) {}
    @Override public TypeInformation<Event> getProducedType() { return Event.TYPE; }
  }
}
