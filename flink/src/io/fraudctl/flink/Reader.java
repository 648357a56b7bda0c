package io.fraudctl.flink;

import java.io.IOException;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.apache.flink.api.connector.source.*;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.runtime.execution.SuppressRestartsException;
import org.apache.flink.util.ExceptionUtils;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.*;
import org.slf4j.LoggerFactory;

/**
 * The reader of Kafka's records, which passes over none in silence: where records were deleted before they were read, the job
 * fails and says where. Trying again would not bring them back: with a file to leave word in, the job is over.
 */
final class Reader implements SourceReader<Event, KafkaPartitionSplit> {
  /** Where to go on instead: `moves` is "topic partition from to;…"; `file` is made, empty, when records are gone. */
  record Options(String moves, String file) implements java.io.Serializable {}

  /** Without state both topics are read from the beginning, since flag events are state; no offset is ever reset. */
  static final class Beginning implements OffsetsInitializer {
    @Override public Map<TopicPartition, Long> getPartitionOffsets(Collection<TopicPartition> partitions,
        PartitionOffsetsRetriever asked) { return asked.beginningOffsets(partitions); }

    @Override public OffsetResetStrategy getAutoOffsetResetStrategy() { return OffsetResetStrategy.NONE; }
  }

  private final SourceReader<Event, KafkaPartitionSplit> reader;
  private final Options options;
  private final Map<String, Long> moves = new HashMap<>();
  private final Map<String, Uuid> known = new HashMap<>(); // the ids of the topics; a topic that is created anew has another
  private volatile String anew;
  private boolean settled; // only the task's thread

  Reader(SourceReader<Event, KafkaPartitionSplit> reader, Options options) {
    this.reader = reader;
    this.options = options;
    for (String move : options.moves.split(";")) {
      int last = move.lastIndexOf(' ');
      if (last > 0) moves.put(move.substring(0, last), Long.valueOf(move.substring(last + 1)));
    }
  }

  @Override public void addSplits(List<KafkaPartitionSplit> splits) {
    reader.addSplits(splits.stream().map(this::moved).collect(Collectors.toList()));
  }

  private KafkaPartitionSplit moved(KafkaPartitionSplit split) {
    TopicPartition partition = split.getTopicPartition();
    Long to = moves.get(partition.topic() + " " + partition.partition() + " " + split.getStartingOffset());
    if (to == null) return split;
    LoggerFactory.getLogger(Reader.class).warn("{} goes on from {}, not {}", partition, to, split.getStartingOffset());
    return new KafkaPartitionSplit(partition, to);
  }

  /** Called now and then, by another thread. In a topic created anew, the consumer would go on where it was in the old one. */
  void topic(String name, Uuid id) {
    Uuid before = known.putIfAbsent(name, id);
    if (before != null && !before.equals(id)) anew = name;
  }

  @Override public InputStatus pollNext(ReaderOutput<Event> output) throws Exception {
    if (anew != null) throw failed(new IllegalStateException(anew + " was deleted and created anew"));
    try {
      return reader.pollNext(output);
    } catch (Exception e) {
      var gap = ExceptionUtils.findThrowable(e, OffsetOutOfRangeException.class);
      if (gap.isEmpty()) throw e;
      throw deleted(gap.get());
    }
  }

  private RuntimeException deleted(OffsetOutOfRangeException gap) throws IOException {
    String where = gap.offsetOutOfRangePartitions().entrySet().stream()
        .map(at -> at.getKey().topic() + "/" + at.getKey().partition() + " from offset " + at.getValue()).sorted()
        .collect(Collectors.joining(", "));
    return failed(new IllegalStateException("records were deleted before they were read: " + where, gap));
  }

  private RuntimeException failed(RuntimeException named) throws IOException {
    if (options.file.isEmpty()) return named;
    Files.write(Path.of(options.file), new byte[0]);
    return new SuppressRestartsException(named);
  }

  @Override public void start() { reader.start(); }
  @Override public List<KafkaPartitionSplit> snapshotState(long checkpoint) { return reader.snapshotState(checkpoint); }
  @Override public CompletableFuture<Void> isAvailable() { return reader.isAvailable(); }
  @Override public void notifyNoMoreSplits() { reader.notifyNoMoreSplits(); }

  @Override public void handleSourceEvents(SourceEvent event) {
    if (event instanceof Settling.Settled) settled = true;
    else reader.handleSourceEvents(event);
  }

  /** Whether every partition that was known has its reader; one without a partition then has nothing to read. */
  boolean settled() { return settled; }

  @Override public void notifyCheckpointComplete(long checkpoint) throws Exception { reader.notifyCheckpointComplete(checkpoint); }
  @Override public void notifyCheckpointAborted(long checkpoint) throws Exception { reader.notifyCheckpointAborted(checkpoint); }
  @Override public void close() throws Exception { reader.close(); }
  @Override public void pauseOrResumeSplits(Collection<String> pause, Collection<String> resume) {
    reader.pauseOrResumeSplits(pause, resume);
  }
}
