import java.util.HashMap;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * What public versions of this pipeline do: a regular SQL join of both topics, JSON to JSON. Its results are wrong (one row
 * for every flag event, no clearing, unbounded state); it is here to be measured against. Takes the application's arguments.
 */
public final class ReferenceMain {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> properties = new HashMap<>();
    Map<String, String> flink = new HashMap<>();
    for (String argument : arguments) {
      String[] pair = argument.split("=", 2);
      if (pair[0].startsWith("flink.")) flink.put(pair[0].substring(6), pair[1]);
      else properties.put(pair[0], pair[1]);
    }
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(Configuration.fromMap(flink));
    StreamTableEnvironment tables = StreamTableEnvironment.create(env);
    String consumer = properties.entrySet().stream().filter(entry -> entry.getKey().startsWith("consumer."))
        .map(entry -> ", 'properties." + entry.getKey().substring(9) + "' = '" + entry.getValue() + "'").reduce("", String::concat);
    String source = ", 'scan.startup.mode' = 'earliest-offset', 'properties.group.id' = 'reference'" + consumer + ")";
    String with = ") WITH ('connector' = 'kafka', 'format' = 'json', 'properties.bootstrap.servers' = '"
        + properties.get("bootstrap.servers") + "', 'topic' = '";
    String transaction = "transaction_id STRING, account_id BIGINT, customer_name STRING, transaction_date STRING,"
        + " merchant_type STRING, transaction_type STRING, amount DECIMAL(11, 2)";
    tables.executeSql("CREATE TABLE a (" + transaction + with + properties.get("topic.transactions") + "'" + source);
    tables.executeSql("CREATE TABLE b (account_id BIGINT, flag_date STRING, status STRING, reason STRING, flagged_by STRING"
        + with + properties.get("topic.flagged") + "'" + source);
    tables.executeSql("CREATE TABLE processed (" + transaction + ", flag_date STRING, flag_reason STRING, flagged_by STRING"
        + with + properties.get("topic.processed") + "')");
    tables.executeSql("INSERT INTO processed SELECT a.*, b.flag_date, b.reason, b.flagged_by FROM a JOIN b"
        + " ON a.account_id = b.account_id AND a.transaction_date >= b.flag_date").await();
  }
}
