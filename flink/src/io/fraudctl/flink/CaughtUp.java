package io.fraudctl.flink;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.api.common.eventtime.*;
import org.apache.flink.api.connector.source.*;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.KafkaSourceEnumState;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InterruptException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A Kafka source whose watermarks are the clock: the publish time up to which its partitions are read for certain.
 *
 * <p>Silence proves nothing, since a slow reader is silent too. So the broker is asked for the end offsets, first at the start
 * and then all the time: a partition that is read to the end it had at some moment is read up to that moment, and a backlog
 * ends without another record. Until it is read to the end it had at the start, a partition's clock stays slack behind: this
 * takes back the slack by which {@link Detection} decides early, so a backlog is decided exactly.
 */
@SuppressWarnings("serial")
final class CaughtUp implements Source<Event, KafkaPartitionSplit, KafkaSourceEnumState> {
  private static final Logger LOG = LoggerFactory.getLogger(CaughtUp.class);
  private static final long ASK_EVERY_MS = 250;
  private final KafkaSource<Event> source;
  private final Properties client;
  private final long slack;
  private transient Map<TopicPartition, Progress> partitions; // of this subtask

  CaughtUp(KafkaSource<Event> source, Properties client, long slack) {
    this.source = source;
    this.client = client;
    this.slack = slack;
  }

  /** How far one partition is read. The task writes the first two, the thread that asks the others. */
  private static final class Progress {
    volatile long position; // of the next record to read
    volatile long newest = Long.MIN_VALUE; // publish time of the last one read
    volatile long upTo = Long.MIN_VALUE; // the last moment whose end is reached; none before that of the start
    long asked, end = -1; // the end at the moment it was asked for
    long seen = -1; // the position at the last look
    long visible; // up to here no record comes any more: transaction markers take offsets too

    Progress(long position) {
      this.position = position;
    }

    boolean reached() {
      return Math.max(position, visible) >= end;
    }

    long clock(long slack) {
      if (upTo > Long.MIN_VALUE) return Math.max(newest - 1, upTo - slack / 5); // our clock and the broker's may differ a little
      return newest == Long.MIN_VALUE ? newest : newest - 1 - slack;
    }
  }

  /** Must go with this very object as the source. Alignment keeps one partition from being read far ahead of another. */
  WatermarkStrategy<Event> watermarks(Duration readAhead) {
    return WatermarkStrategy.<Event>forGenerator(context -> new Generator())
        .withWatermarkAlignment("input", readAhead, Duration.ofSeconds(1));
  }

  /** Flink makes one for each partition, without saying for which, and one more that no record ever reaches. */
  private final class Generator implements WatermarkGenerator<Event> {
    private Progress mine;

    @Override
    public void onEvent(Event event, long timestamp, WatermarkOutput output) {
      if (mine == null) mine = partitions.get(new TopicPartition(event.topic, event.partition));
      mine.newest = Math.max(mine.newest, event.published);
      mine.position = event.offset + 1;
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
      long clock = mine != null ? mine.clock(slack)
          : partitions.values().stream().mapToLong(progress -> progress.clock(slack)).min().orElse(Long.MIN_VALUE);
      if (clock > Long.MIN_VALUE) output.emitWatermark(new Watermark(clock));
    }
  }

  /** The Kafka source's own reader, and beside it the thread that asks for the end offsets. */
  private final class Reader implements SourceReader<Event, KafkaPartitionSplit> {
    private final SourceReader<Event, KafkaPartitionSplit> reader;
    private final Thread asking = new Thread(this::ask, "end-offsets");

    Reader(SourceReader<Event, KafkaPartitionSplit> reader) {
      this.reader = reader;
      asking.setDaemon(true);
    }

    private void ask() {
      while (!asking.isInterrupted()) {
        try (var consumer = new KafkaConsumer<>(client, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
          for (; ; Thread.sleep(ASK_EVERY_MS)) ask(consumer);
        } catch (InterruptedException | InterruptException e) {
          return;
        } catch (KafkaException e) {
          LOG.warn("the end offsets are not known, asking again", e);
        }
      }
    }

    private void ask(KafkaConsumer<?, ?> consumer) {
      List<TopicPartition> again = new ArrayList<>();
      partitions.forEach((partition, progress) -> {
        if (!progress.reached() && progress.position == progress.seen) {
          consumer.assign(List.of(partition));
          consumer.seek(partition, progress.position);
          if (consumer.poll(Duration.ofMillis(ASK_EVERY_MS)).isEmpty()) progress.visible = consumer.position(partition);
        }
        progress.seen = progress.position;
        if (!progress.reached()) return;
        if (progress.end >= 0) progress.upTo = progress.asked;
        again.add(partition);
      });
      long now = System.currentTimeMillis();
      consumer.endOffsets(again).forEach((partition, end) -> {
        partitions.get(partition).asked = now;
        partitions.get(partition).end = end;
      });
    }

    @Override
    public void start() {
      reader.start();
      asking.start();
    }

    @Override
    public void addSplits(List<KafkaPartitionSplit> splits) { // a negative offset says: from the beginning
      for (var split : splits) partitions.put(split.getTopicPartition(), new Progress(Math.max(0, split.getStartingOffset())));
      reader.addSplits(splits);
    }

    @Override
    public void close() throws Exception {
      asking.interrupt();
      reader.close();
    }

    @Override public InputStatus pollNext(ReaderOutput<Event> output) throws Exception { return reader.pollNext(output); }
    @Override public List<KafkaPartitionSplit> snapshotState(long id) { return reader.snapshotState(id); }
    @Override public CompletableFuture<Void> isAvailable() { return reader.isAvailable(); }
    @Override public void notifyNoMoreSplits() { reader.notifyNoMoreSplits(); }
    @Override public void notifyCheckpointComplete(long id) throws Exception { reader.notifyCheckpointComplete(id); }
    @Override public void pauseOrResumeSplits(Collection<String> pause, Collection<String> resume) { reader.pauseOrResumeSplits(pause, resume); }
  }

  @Override
  public SourceReader<Event, KafkaPartitionSplit> createReader(SourceReaderContext context) throws Exception {
    partitions = new ConcurrentHashMap<>();
    return new Reader(source.createReader(context));
  }

  @Override
  public SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> createEnumerator(SplitEnumeratorContext<KafkaPartitionSplit> context) {
    return source.createEnumerator(context);
  }

  @Override
  public SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> restoreEnumerator(
      SplitEnumeratorContext<KafkaPartitionSplit> context, KafkaSourceEnumState state) throws IOException {
    return source.restoreEnumerator(context, state);
  }

  @Override public Boundedness getBoundedness() { return source.getBoundedness(); }
  @Override public SimpleVersionedSerializer<KafkaPartitionSplit> getSplitSerializer() { return source.getSplitSerializer(); }
  @Override public SimpleVersionedSerializer<KafkaSourceEnumState> getEnumeratorCheckpointSerializer() { return source.getEnumeratorCheckpointSerializer(); }
}
