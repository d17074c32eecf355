import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * One node of OpenSearch, for tests/stack: a base directory, then key=value settings, which win over the runner's own. One of
 * them must be discovery.type=single-node: with a cluster of one node and no word of that, no manager is ever elected.
 */
public class OpenSearchNode {
    public static void main(String[] arguments) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.putList("node.roles", "cluster_manager", "data", "ingest");
            for (int n = 1; n < arguments.length; n++) {
                String[] setting = arguments[n].split("=", 2);
                settings.put(setting[0], setting[1]);
            }
        });
        runner.build(OpenSearchRunner.newConfigs().basePath(arguments[0]).numOfNode(1).useLogger());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                runner.close();
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
        }));
        Thread.currentThread().join();
    }
}
