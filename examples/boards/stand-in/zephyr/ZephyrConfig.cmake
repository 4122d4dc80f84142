# Stands in for Zephyr where its sources cannot be had: modules are read as it reads them (module.yml, Kconfig by kconfiglib,
# prj.conf), and what they call builds for this machine. Nothing of the module or the application knows the difference.
project(Zephyr-Kernel C)

add_library(zephyr_interface INTERFACE)
add_executable(app)
target_link_libraries(app PRIVATE zephyr_interface)

function(zephyr_include_directories)
    foreach(folder ${ARGN})
        get_filename_component(folder ${folder} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
        target_include_directories(zephyr_interface INTERFACE ${folder})
    endforeach()
endfunction()

macro(zephyr_library_named name)
    set(ZEPHYR_CURRENT_LIBRARY ${name})
    add_library(${name} STATIC)
    target_link_libraries(${name} PUBLIC zephyr_interface)
    target_link_libraries(app PRIVATE ${name})
endmacro()

function(zephyr_library_sources)
    target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()

foreach(module ${ZEPHYR_EXTRA_MODULES})
    execute_process(
        COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/module.py ${module} ${CMAKE_SOURCE_DIR}/prj.conf
        OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    # The folder with its CMakeLists.txt, then the options that are on.
    list(POP_FRONT found folder)
    foreach(option ${found})
        set(CONFIG_${option} y)
    endforeach()
    get_filename_component(name ${module} NAME)
    add_subdirectory(${folder} modules/${name})
endforeach()
